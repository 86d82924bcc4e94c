// Options of a package by its JSON schema: what they are by default, what was changed, what is wrong.
import { Validator, type Schema, type SchemaDraft } from '@cfworker/json-schema'

export interface Field {
  type?: string | string[]
  title?: string
  description?: string
  default?: unknown
  enum?: unknown[]
  properties?: Record<string, Field>
  required?: string[]
  items?: Field
  minimum?: number
  maximum?: number
  maxLength?: number
  $schema?: string
}

export type Options = Record<string, unknown>

export function typeOf(f: Field): string {
  const types = Array.isArray(f.type) ? f.type : [f.type]
  return types.find(t => t && t !== 'null') ?? (f.properties ? 'object' : f.enum ? 'string' : '')
}

// defaults are the options that a field has when nothing is said.
export function defaults(f: Field): unknown {
  if (typeOf(f) !== 'object' || !f.properties) return f.default
  const own = isOptions(f.default) ? f.default : {}
  const out: Options = { ...own }
  for (const [name, child] of Object.entries(f.properties)) {
    const value = name in out ? out[name] : defaults(child)
    if (value !== undefined) out[name] = value
  }
  return out
}

const isOptions = (v: unknown): v is Options => typeof v === 'object' && v !== null && !Array.isArray(v)

export function same(a: unknown, b: unknown): boolean {
  if (isOptions(a) && isOptions(b)) {
    const keys = new Set([...Object.keys(a), ...Object.keys(b)])
    return [...keys].every(k => same(a[k], b[k]))
  }
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((x, i) => same(x, b[i]))
  return a === b
}

// changes are the options that differ from the defaults: all that has to be sent.
export function changes(now: unknown, before: unknown): Options {
  const out: Options = {}
  if (!isOptions(now)) return out
  const old = isOptions(before) ? before : {}
  for (const [name, value] of Object.entries(now)) {
    if (value === undefined || same(value, old[name])) continue
    if (isOptions(value) && isOptions(old[name])) {
      const inner = changes(value, old[name])
      if (Object.keys(inner).length > 0) out[name] = inner
    } else {
      out[name] = value
    }
  }
  return out
}

// put is a copy of the options with one value changed; undefined takes it away.
export function put(options: unknown, path: readonly string[], value: unknown): Options {
  const [name, ...rest] = path
  const out: Options = isOptions(options) ? { ...options } : {}
  if (name === undefined) return out
  const next = rest.length > 0 ? put(out[name], rest, value) : value
  if (next === undefined) delete out[name]
  else out[name] = next
  return out
}

function draftOf(schema: Field): SchemaDraft {
  const uri = schema.$schema ?? ''
  return uri.includes('2020-12') ? '2020-12' : uri.includes('2019-09') ? '2019-09' : uri.includes('draft-07') || uri.includes('draft-06') ? '7' : '4'
}

export const pointer = (path: readonly string[]) => path.map(p => `/${p}`).join('')

// checker returns what is wrong with options, by the place of the field.
export function checker(schema: Field): (options: unknown) => Map<string, string> {
  const validator = new Validator(schema as Schema, draftOf(schema), false)
  return options => {
    const out = new Map<string, string>()
    for (const e of validator.validate(options).errors) {
      if (e.keyword === 'properties' || e.keyword === 'items') continue // says only that something below is wrong
      const missing = e.keyword === 'required' ? /"([^"]+)"/.exec(e.error)?.[1] : undefined
      const at = e.instanceLocation.replace(/^#/, '') + (missing ? `/${missing}` : '')
      if (!out.has(at)) out.set(at, missing ? 'A value is needed.' : e.error)
    }
    return out
  }
}
