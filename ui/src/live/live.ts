// The one live connection of this tab, and the hooks by which components read it.
import { useCallback, useSyncExternalStore } from 'react'
import { errorOf } from '../api/http'
import type { Cluster, Rows, Topic } from '../api/types'
import { Stream, type Answer, type Source, type Status } from './stream'
import { Tables } from './tables'

const foldFor = 30 // ms: frames that come together are drawn together
const drawEvery = 250 // ms: a busy cluster is drawn no more often than that

const tables = new Tables()
const listeners = new Set<() => void>()
let pending: ReturnType<typeof setTimeout> | undefined
let shown = new Map<Topic, readonly unknown[]>()
let complete = false
let signedOut = () => {}
let drawn = 0

function publish() {
  pending = undefined
  drawn = performance.now()
  shown = new Map()
  complete = tables.complete
  listeners.forEach(f => f())
}

function publishSoon() { pending ??= setTimeout(publish, Math.max(foldFor, drawn + drawEvery - performance.now())) }

async function probe(url: string): Promise<Answer> {
  const stop = new AbortController()
  const res = await fetch(url, { signal: stop.signal, headers: { Accept: 'text/event-stream' }, cache: 'no-store' })
  if (res.ok) {
    stop.abort()
    return { status: 200, detail: '' }
  }
  const e = await errorOf(res)
  return { status: e.status, detail: [e.detail, e.hint].filter(Boolean).join(' ') }
}

const stream = new Stream(
  {
    open: url => new EventSource(url) as unknown as Source,
    probe,
    now: () => Date.now(),
    later: (f, ms) => { const t = setTimeout(f, ms); return () => clearTimeout(t) },
  },
  {
    frame: f => { if (tables.apply(f)) publishSoon() },
    status: () => listeners.forEach(f => f()),
    signedOut: () => signedOut(),
  },
)

export function startLive(whenSignedOut: () => void) {
  signedOut = whenSignedOut
  stream.start()
  addEventListener('online', wake)
  document.addEventListener('visibilitychange', wake)
}

export function stopLive() {
  stream.stop()
  clearTimeout(pending)
  pending = undefined
  tables.clear()
  publish()
  removeEventListener('online', wake)
  document.removeEventListener('visibilitychange', wake)
}

function wake() { if (document.visibilityState === 'visible') stream.wake() }

function subscribe(f: () => void) { listeners.add(f); return () => { listeners.delete(f) } }

export function useTopic<T extends Topic>(topic: T): readonly Rows[T][] {
  return useSyncExternalStore(subscribe, useCallback(() => {
    let rows = shown.get(topic)
    if (!rows) shown.set(topic, rows = tables.rows(topic))
    return rows as readonly Rows[T][]
  }, [topic]))
}

export function useCluster(): Cluster | undefined { return useTopic('cluster')[0] }
export function useStatus(): Status { return useSyncExternalStore(subscribe, () => stream.status) }

// useComplete says whether everything was received once: before, an empty table means nothing.
export function useComplete(): boolean { return useSyncExternalStore(subscribe, () => complete) }
