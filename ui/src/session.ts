// Who is logged in. The credential itself is a cookie that scripts cannot read.
import { useSyncExternalStore } from 'react'
import * as calls from './api/calls'
import { asError, onSignedOut, type ApiError } from './api/http'
import type { User } from './api/types'
import { startLive, stopLive } from './live/live'

export type Session = { state: 'unknown' } | { state: 'out'; problem?: ApiError | undefined } | { state: 'in'; user: User }

let session: Session = { state: 'unknown' }
const listeners = new Set<() => void>()

function set(next: Session) {
  session = next
  if (next.state === 'in') startLive(expired)
  else stopLive()
  listeners.forEach(f => f())
}

function expired() { if (session.state !== 'out') set({ state: 'out' }) }

export function useSession(): Session {
  return useSyncExternalStore(f => { listeners.add(f); return () => { listeners.delete(f) } }, () => session)
}

async function enter() { set({ state: 'in', user: await calls.me() }) }

export async function signIn(uid: string, password: string) {
  await calls.signIn(uid, password)
  await enter()
}

export async function signOut() {
  try { await calls.signOut() } finally { set({ state: 'out' }) }
}

// oneTimeToken is the token of a login link, BASE/#/login?token=..., or "".
export function oneTimeToken(hash: string): string {
  const link = /^#\/login\?(.*)$/.exec(hash)
  return link ? new URLSearchParams(link[1]).get('token') ?? '' : ''
}

// resume finds out at load who is logged in. A token in the address is used and dropped from it
// before anything else, so that it stays neither in sight nor in the history.
export async function resume() {
  onSignedOut(expired)
  const token = oneTimeToken(location.hash)
  let refused: ApiError | undefined
  if (location.hash.startsWith('#/login')) history.replaceState(null, '', `${location.pathname}#/`)
  if (token) {
    try { await calls.redeem(token) } catch (e) { refused = asError(e) }
  }
  try {
    await enter()
  } catch (e) {
    const err = asError(e)
    set({ state: 'out', problem: refused ?? (err.status === 401 ? undefined : err) })
  }
}
