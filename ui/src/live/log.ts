// Following one file of one task. Lines are kept up to a limit; what is older can be downloaded.
import { useEffect, useRef, useState } from 'react'
import { logPath } from '../api/calls'
import { errorOf } from '../api/http'
import type { LogEntry } from '../api/types'

export interface Line { offset: number; text: string }
export interface Log { lines: readonly Line[]; state: 'opening' | 'following' | 'ended' | 'lost'; problem: string; cut: boolean }

const keep = 5000
const first = 500 // lines that are shown at once
const foldFor = 50

const empty: Log = { lines: [], state: 'opening', problem: '', cut: false }

// add puts lines behind those that are there; a line that came before is passed over, since a
// connection that was lost may repeat.
export function add(log: Log, fresh: readonly Line[]): Log {
  let last = log.lines.at(-1)?.offset ?? -1
  const news = fresh.filter(l => { const ok = l.offset > last; if (ok) last = l.offset; return ok })
  if (news.length === 0) return log
  const lines = [...log.lines, ...news]
  return lines.length > keep ? { ...log, lines: lines.slice(-keep), cut: true } : { ...log, lines }
}

async function reason(url: string): Promise<string> {
  const stop = new AbortController()
  try {
    const res = await fetch(url, { signal: stop.signal, headers: { Accept: 'text/event-stream' }, cache: 'no-store' })
    if (res.status === 204 || res.ok) { stop.abort(); return '' }
    const e = await errorOf(res)
    return [e.detail, e.hint].filter(Boolean).join(' ')
  } catch { return 'The cluster does not answer.' }
}

// useLog follows a file as long as it is shown. over says that the task has ended: then the end of
// the stream is the end of the log.
export function useLog(node: string | undefined, task: string, file: string, over: boolean): Log {
  const [log, setLog] = useState<Log>(empty)
  const ended = useRef(over)
  useEffect(() => { ended.current = over }, [over])
  useEffect(() => {
    if (!node) return
    const url = `${logPath(node, task, file)}?cursor=END&skip=-${first}`
    let waiting: Line[] = []
    let fold: ReturnType<typeof setTimeout> | undefined
    const flush = () => {
      fold = undefined
      const fresh = waiting
      waiting = []
      setLog(l => add(l, fresh))
    }
    const set = (state: Log['state'], problem = '') => setLog(l => ({ ...l, state, problem }))
    const source = new EventSource(url)
    source.onopen = () => set('following')
    source.onmessage = e => {
      try {
        const entry = JSON.parse(e.data as string) as LogEntry
        waiting.push({ offset: entry.offset, text: entry.text })
      } catch { return }
      fold ??= setTimeout(flush, foldFor)
    }
    source.onerror = () => {
      if (ended.current) {
        source.close()
        set('ended')
      } else if (source.readyState === EventSource.CLOSED) {
        void reason(url).then(problem => set(problem ? 'lost' : 'ended', problem))
      } else {
        set('opening')
      }
    }
    return () => { source.close(); clearTimeout(fold); setLog(empty) }
  }, [node, task, file])
  return log
}
