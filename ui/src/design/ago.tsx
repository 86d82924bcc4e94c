// Ago is the one place where the page reads the clock.
import { useSyncExternalStore } from 'react'
import { ago, span } from '../format'

const listeners = new Set<() => void>()
let now = Date.now()
let timer: ReturnType<typeof setInterval> | undefined

function subscribe(f: () => void) {
  listeners.add(f)
  timer ??= setInterval(() => { now = Date.now(); listeners.forEach(g => g()) }, 1000)
  return () => {
    listeners.delete(f)
    if (listeners.size === 0) { clearInterval(timer); timer = undefined }
  }
}

export function useNow(): number { return useSyncExternalStore(subscribe, () => now) }

export function Ago({ at }: { at: string | undefined }) {
  const t = useNow()
  const when = at ? Date.parse(at) : NaN
  if (Number.isNaN(when)) return <span className="muted">–</span>
  const d = new Date(when)
  return <time dateTime={d.toISOString()} title={`${d.toLocaleString()} (${d.toISOString()})`}>{ago(Math.max(0, t - when))}</time>
}

export function Lasting({ from }: { from: number }) {
  const t = useNow()
  return <>{span(Math.max(0, Math.floor((t - from) / 1000)))}</>
}
