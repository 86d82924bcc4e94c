// One way to ask the API: errors of its three dialects become one kind, with what happened and what
// to do next, and an answer of 401 ends the session.

export class ApiError extends Error {
  constructor(readonly status: number, readonly detail: string, readonly hint = '', readonly fields: { path: string; text: string }[] = [], readonly locked = false) {
    super(detail)
  }
}

type Body = Record<string, unknown>
let whenSignedOut = () => {}
export function onSignedOut(f: () => void) { whenSignedOut = f }

const text = (v: unknown) => (typeof v === 'string' ? v : '')
const record = (v: unknown): Body => (v && typeof v === 'object' ? (v as Body) : {})
const list = (v: unknown): unknown[] => (Array.isArray(v) ? (v as unknown[]) : [])

function fieldsOf(b: Body): { path: string; text: string }[] {
  const many = (rows: unknown) => list(rows).map(record).flatMap(f => list(f.errors).map(e => ({ path: text(f.path), text: text(e) })))
  const cosmos = list(record(b.data).errors).map(record).map(e => ({ path: text(record(e.instance).pointer), text: text(e.message) }))
  return [...many(b.fields), ...many(b.details), ...cosmos]
}

export async function errorOf(res: Response): Promise<ApiError> {
  let b: Body = {}
  try { b = record(await res.json()) } catch { /* not JSON: the status has to do */ }
  const detail = text(b.detail) || text(b.message) || `The cluster answered ${res.status} ${res.statusText}.`
  return new ApiError(res.status, detail, text(b.hint), fieldsOf(b), res.status === 409 && list(b.deployments).length > 0)
}

export async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  let res: Response
  try {
    res = await fetch(path, {
      method, signal: signal ?? null, credentials: 'same-origin', cache: 'no-store',
      headers: body === undefined ? { Accept: 'application/json' } : { Accept: 'application/json', 'Content-Type': 'application/json' },
      body: body === undefined ? null : JSON.stringify(body),
    })
  } catch (e) {
    if (signal?.aborted) throw e
    throw new ApiError(0, 'The cluster does not answer.', 'Check the network and that a master runs, then try again.')
  }
  if (!res.ok) {
    const err = await errorOf(res)
    if (res.status === 401 && !path.startsWith('/acs/')) whenSignedOut()
    throw err
  }
  const answer = await res.text()
  return (answer ? JSON.parse(answer) : undefined) as T
}

export const get = <T>(path: string, signal?: AbortSignal) => call<T>('GET', path, undefined, signal)
export const post = <T>(path: string, body: unknown, signal?: AbortSignal) => call<T>('POST', path, body, signal)

export function asError(e: unknown): ApiError {
  return e instanceof ApiError ? e : new ApiError(0, e instanceof Error ? e.message : String(e))
}
