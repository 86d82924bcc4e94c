import { useLayoutEffect, useRef, useState } from 'react'
import * as calls from '../api/calls'
import type { Task } from '../api/types'
import { Cli } from '../design/cli'
import { Glyph } from '../design/state'
import { useLog } from '../live/log'

const files = ['stdout', 'stderr'] as const

// Logs follows what a task writes. Scrolling up stops following, scrolling to the end goes on.
export function Logs({ task: t }: { task: Task }) {
  const [file, setFile] = useState<(typeof files)[number]>('stdout')
  const [follow, setFollow] = useState(true)
  const log = useLog(t.node, t.id, file, Boolean(t.endedAt))
  const box = useRef<HTMLDivElement>(null)
  useLayoutEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight
  }, [log.lines, follow])
  const onScroll = () => {
    const b = box.current
    if (b) setFollow(b.scrollHeight - b.scrollTop - b.clientHeight < 24)
  }
  return (
    <section className="logs" aria-labelledby="logs">
      <div className="logs-head">
        <h3 id="logs">Log</h3>
        <span className="segments" role="group" aria-label="Which file">
          {files.map(f => <button key={f} type="button" aria-pressed={f === file} onClick={() => setFile(f)}>{f}</button>)}
        </span>
        <LogState state={t.node ? log.state : 'none'} />
        <span className="grow" />
        <label className="check"><input type="checkbox" checked={follow} onChange={e => setFollow(e.target.checked)} />Follow</label>
        {t.node && <a className="button" href={`${calls.logPath(t.node, t.id, file)}/download`} download={`${t.id}.${file}`}>Download</a>}
      </div>
      {log.cut && <p className="muted small">Older lines are not shown: download them.</p>}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a region that scrolls must be reachable by keyboard */}
      <div className="log-lines" ref={box} onScroll={onScroll} role="log" aria-label={`${file} of the task`} aria-live="off" tabIndex={0}>
        {log.lines.map(l => <div key={l.offset}>{l.text || '\u00a0'}</div>)}
        {log.lines.length === 0 && <p className="muted">{nothing(t, file, log.state, log.problem)}</p>}
      </div>
      {log.lines.length > 0 && log.problem && <p className="field-error">{log.problem}</p>}
      <Cli command={calls.cli.log(t.id, file)} />
    </section>
  )
}

function nothing(t: Task, file: string, state: string, problem: string): string {
  if (!t.node) return 'The task has no node yet, so it has written nothing.'
  if (problem) return problem
  return state === 'opening' ? 'Opening…' : state === 'ended' ? `The task wrote nothing to ${file}.` : `Nothing was written to ${file} so far. New lines come by themselves.`
}

function LogState({ state }: { state: 'opening' | 'following' | 'ended' | 'lost' | 'none' }) {
  const of = { opening: ['working', 'opening'], following: ['ok', 'live'], ended: ['idle', 'end of log'], lost: ['bad', 'not available'], none: ['idle', 'no log yet'] } as const
  const [severity, text] = of[state]
  return <span className={`state ${severity}`}><Glyph severity={severity} />{text}</span>
}
