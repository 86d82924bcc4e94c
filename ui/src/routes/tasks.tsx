import { useCallback, useMemo, useState } from 'react'
import { Link } from '@tanstack/react-router'
import * as calls from '../api/calls'
import type { Task } from '../api/types'
import { Ago } from '../design/ago'
import { Confirm, type Question } from '../design/confirm'
import { Drawer } from '../design/drawer'
import { Empty, say, Skeleton } from '../design/feedback'
import { Grid, type Column } from '../design/grid'
import { State } from '../design/state'
import { useRank } from '../design/words'
import { cpus, exitText, mib, shortTask } from '../format'
import { useComplete, useTopic } from '../live/live'
import { ListHead, matches, NoMatch, useAddress } from './list'
import { Logs } from './logs'

const keyOf = (t: Task) => t.id
const nameOf = (t: Task) => `${t.app} ${shortTask(t.id)}`
const when = (t: Task) => t.endedAt ?? t.startedAt ?? t.createdAt
const address = (t: Task) => (t.ip && t.ports?.length ? `${t.ip}:${t.ports[0]}` : '')

const kinds = { live: 'Live', ended: 'Ended', all: 'All' } as const
type Kind = keyof typeof kinds

function useColumns(): Column<Task>[] {
  const rank = useRank('task')
  return useMemo(() => [
    { key: 'state', title: 'State', width: '106px', sort: t => rank(t.state), cell: t => <State of="task" word={t.state} /> },
    { key: 'app', title: 'Service', width: 'minmax(130px,1.6fr)', sort: t => t.app, cell: t => <span className="main-cell">{t.app}</span> },
    { key: 'id', title: 'Task', width: '116px', sort: t => t.id, cell: t => <code title={t.id}>{shortTask(t.id)}</code> },
    { key: 'node', title: 'Node', width: 'minmax(100px,1fr)', sort: t => t.hostname ?? '', cell: t => t.hostname ?? <span className="muted">–</span>, room: 520 },
    { key: 'address', title: 'Address', width: 'minmax(150px,1fr)', sort: address, cell: t => (address(t) ? <code>{address(t)}</code> : <span className="muted">–</span>), room: 700 },
    { key: 'when', title: 'Since', width: '110px', sort: t => -Date.parse(when(t)), cell: t => <Ago at={when(t)} />, room: 640 },
    { key: 'why', title: 'Ended with', width: 'minmax(110px,1.2fr)', sort: t => exitText(t.exit), cell: t => <span className="muted clip" title={t.message}>{[exitText(t.exit), t.message].filter(Boolean).join(' · ')}</span>, room: 860 },
  ], [rank])
}

export function Tasks() {
  const rows = useTopic('tasks')
  const complete = useComplete()
  const [{ q = '', sel, show }, go] = useAddress('/tasks')
  const kind: Kind = show && show in kinds ? (show as Kind) : q ? 'all' : 'live'
  const columns = useColumns()
  const ofKind = useMemo(() => (kind === 'all' ? rows : rows.filter(t => !t.endedAt === (kind === 'live'))), [rows, kind])
  const shown = useMemo(() => (q ? ofKind.filter(t => matches(q, t.id, t.app, t.state, t.hostname, t.ip, t.message, t.reason)) : ofKind), [ofKind, q])
  const task = sel ? rows.find(t => t.id === sel) : undefined
  const close = useCallback(() => go({ sel: '' }), [go])
  return (
    <div className={sel ? 'screen list split wide-drawer' : 'screen list'}>
      <div className="list-pane">
        <ListHead title="Tasks" filter={q} setFilter={x => go({ q: x })} shown={shown.length} total={rows.length}>
          <span className="segments" role="group" aria-label="Which tasks">
            {(Object.keys(kinds) as Kind[]).map(k => <button key={k} type="button" aria-pressed={k === kind} onClick={() => go({ show: k })}>{kinds[k]}</button>)}
          </span>
        </ListHead>
        {!complete ? <Skeleton rows={8} /> : rows.length === 0
          ? <Empty title="No tasks yet" command="dcos package install hello-world --yes">A task is one run of one instance of a service. <Link to="/catalog">Install a service</Link>, and its tasks are here.</Empty>
          : ofKind.length === 0 && !q
            ? <Empty title={kind === 'live' ? 'No task runs now' : 'No task has ended'}><button type="button" onClick={() => go({ show: 'all' })}>Show all {rows.length.toLocaleString('en')}</button></Empty>
            : <Grid label="Tasks" rows={shown} columns={columns} keyOf={keyOf} nameOf={nameOf} first={{ key: 'state' }} selected={sel} open={id => go({ sel: id })} empty={<NoMatch total={ofKind.length} what="tasks" clear={() => go({ q: '' })} />} />}
      </div>
      {task && <Details key={task.id} task={task} close={close} />}
      {sel && !task && complete && <Drawer id={sel} title="Task is gone" kicker={<code>{shortTask(sel)}</code>} close={close}><p className="muted">Tasks that ended are kept for a while only, and go with their service.</p></Drawer>}
    </div>
  )
}

function Details({ task: t, close }: { task: Task; close: () => void }) {
  const [question, setQuestion] = useState<Question | null>(null)
  const ended = Boolean(t.endedAt)
  const end: Question = {
    title: `End task ${shortTask(t.id)}?`, act: 'End task', danger: true, command: calls.cli.kill(t.id),
    body: <p>Its process is told to end; {t.app} replaces it by a new task.</p>,
    run: async () => { await calls.kill(t.id); say(`Task ${shortTask(t.id)} ends.`) },
  }
  return (
    <Drawer id={t.id} title={<>{t.app} <span className="muted">{shortTask(t.id)}</span></>} close={close}
      kicker={<><State of="task" word={t.state} />{ended && <span className="muted">{exitText(t.exit)}</span>}{t.message && <span className="muted clip">{t.message}</span>}</>}>
      <div className="facts-line">
        <Link to="/services" search={{ sel: t.app }}>{t.app}</Link>
        {t.node && <Link to="/nodes" search={{ sel: t.node }}>{t.hostname ?? t.node}</Link>}
        {address(t) && <code>{address(t)}</code>}
        <span className="muted">{ended ? 'ended' : t.startedAt ? 'started' : 'wanted'} <Ago at={when(t)} /></span>
        <span className="muted">{cpus(t.need.cpus)} CPU, {mib(t.need.mem)}</span>
        <span className="grow" />
        {!ended && t.node && <button type="button" className="danger" onClick={() => setQuestion(end)}>End task</button>}
      </div>
      <p className="full-id"><code>{t.id}</code></p>
      <Logs task={t} />
      {question && <Confirm question={question} close={() => setQuestion(null)} />}
    </Drawer>
  )
}
