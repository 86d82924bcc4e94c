import { useCallback, useMemo, useState } from 'react'
import { Link } from '@tanstack/react-router'
import * as calls from '../api/calls'
import type { Service, Task } from '../api/types'
import { Ago } from '../design/ago'
import { Cli } from '../design/cli'
import { Confirm, type Question } from '../design/confirm'
import { Drawer } from '../design/drawer'
import { Empty, Skeleton } from '../design/feedback'
import { Grid, type Column } from '../design/grid'
import { Icon } from '../design/icons'
import { Glyph, State } from '../design/state'
import { useRank, useWord } from '../design/words'
import { count, cpus, humane, mib, shortTask } from '../format'
import { useComplete, useTopic } from '../live/live'
import { ListHead, matches, NoMatch, useAddress } from './list'
import { removal, restarting, ScaleForm } from './service-acts'
import { WhyPanel } from './why'

const keyOf = (s: Service) => s.id
const nameOf = (s: Service) => s.id

function useColumns(): Column<Service>[] {
  const rank = useRank('service')
  return useMemo(() => [
    { key: 'state', title: 'State', width: '116px', sort: s => rank(s.state), cell: s => <State of="service" word={s.state} /> },
    { key: 'id', title: 'Service', width: 'minmax(160px,2fr)', sort: s => s.id, cell: s => <span className="main-cell">{s.id}</span> },
    { key: 'running', title: 'Running', width: '100px', sort: s => s.running / (s.instances || 1), cell: s => <Fraction s={s} />, number: true },
    { key: 'package', title: 'Package', width: 'minmax(110px,1fr)', sort: s => s.package ?? '', cell: s => s.package ? <>{s.package} <span className="muted">{s.packageVersion}</span></> : <span className="muted">–</span>, room: 800 },
    { key: 'cpu', title: 'CPU each', width: '92px', sort: s => -s.need.cpus, cell: s => cpus(s.need.cpus), number: true, room: 900 },
    { key: 'mem', title: 'Memory each', width: '112px', sort: s => -s.need.mem, cell: s => mib(s.need.mem), number: true, room: 900 },
    { key: 'endpoints', title: 'Reach it at', width: 'minmax(190px,1.2fr)', sort: s => s.endpoints?.[0] ?? '', cell: s => <Endpoints of={s} most={1} />, room: 480 },
  ], [rank])
}

function Fraction({ s }: { s: Service }) {
  return <span className={s.running < s.instances ? 'fraction short' : 'fraction'}><b>{s.running}</b>/{s.instances}</span>
}

function Endpoints({ of: s, most }: { of: Service; most: number }) {
  const all = s.endpoints ?? []
  if (all.length === 0) return <span className="muted">–</span>
  return (
    <span className="endpoints">
      {all.slice(0, most).map(e => <a key={e} href={`http://${e}/`} target="_blank" rel="noopener noreferrer"><code>{e}</code><Icon name="external" /><span className="hidden">(opens in a new tab)</span></a>)}
      {all.length > most && <span className="muted">+{all.length - most}</span>}
    </span>
  )
}

export function Services() {
  const rows = useTopic('services')
  const complete = useComplete()
  const [{ q = '', sel }, go] = useAddress('/services')
  const columns = useColumns()
  const shown = useMemo(() => (q ? rows.filter(s => matches(q, s.id, s.state, s.package)) : rows), [rows, q])
  const service = sel ? rows.find(s => s.id === sel) : undefined
  const close = useCallback(() => go({ sel: '' }), [go])
  return (
    <div className={service ? 'screen list split' : 'screen list'}>
      <div className="list-pane">
        <ListHead title="Services" filter={q} setFilter={x => go({ q: x })} shown={shown.length} total={rows.length}>
          <Link to="/catalog" className="button">Install a package</Link>
        </ListHead>
        {!complete ? <Skeleton rows={8} /> : rows.length === 0
          ? <Empty title="No services yet" command="dcos package install hello-world --yes">A service keeps a number of tasks running. <Link to="/catalog">Install one from the catalog</Link>, or add your own with <code>dcos marathon app add app.json</code>.</Empty>
          : <Grid label="Services" rows={shown} columns={columns} keyOf={keyOf} nameOf={nameOf} first={{ key: 'state' }} selected={sel} open={id => go({ sel: id })} empty={<NoMatch total={rows.length} what="services" clear={() => go({ q: '' })} />} />}
      </div>
      {service && <Details key={service.id} service={service} close={close} />}
    </div>
  )
}

function Details({ service: s, close }: { service: Service; close: () => void }) {
  const all = useTopic('tasks')
  const tasks = useMemo(() => all.filter(t => t.app === s.id), [all, s.id])
  const live = useMemo(() => tasks.filter(t => !t.endedAt), [tasks])
  const ended = useMemo(() => tasks.filter(t => t.endedAt).sort((a, b) => (a.endedAt! < b.endedAt! ? 1 : -1)), [tasks])
  const [question, setQuestion] = useState<Question | null>(null)
  const deleting = s.state === 'deleting'
  const short = s.running < s.instances
  return (
    <Drawer id={s.id} title={s.id} kicker={<><State of="service" word={s.state} />{s.why && <span className="muted">{humane(s.why)}</span>}</>} close={close}>
      <div className="big-fraction"><b>{s.running}</b><span>of {count(s.instances, 'instance')} running</span></div>
      <Strip tasks={live} />
      <ScaleForm service={s} disabled={deleting} />
      <div className="buttons start">
        <button type="button" disabled={deleting || s.instances === 0} onClick={() => setQuestion(restarting(s))}>Restart</button>
        <button type="button" className="danger" disabled={deleting} onClick={() => setQuestion(removal(s))}>{s.package ? 'Uninstall' : 'Remove'}</button>
      </div>
      {short && !deleting && <WhyPanel service={s} />}
      {(s.endpoints?.length ?? 0) > 0 && <><h3>Reach it at</h3><Endpoints of={s} most={20} /></>}
      <h3>Tasks <span className="muted">{live.length}</span></h3>
      {live.length === 0 ? <p className="muted">None.</p> : <TaskRows tasks={live} />}
      {ended.length > 0 && <details><summary>Ended before <span className="muted">{ended.length}</span></summary><TaskRows tasks={ended} /></details>}
      <h3>Facts</h3>
      <dl>
        {s.package && <div><dt>Package</dt><dd><Link to="/catalog" search={{ sel: s.package }}>{s.package}</Link> {s.packageVersion}</dd></div>}
        <div><dt>Each instance</dt><dd>{cpus(s.need.cpus)} CPU, {mib(s.need.mem)} memory{s.need.disk > 0 && `, ${mib(s.need.disk)} disk`}</dd></div>
        <div><dt>Changed</dt><dd><Ago at={s.version} /></dd></div>
      </dl>
      <Cli command={`dcos marathon app show ${calls.quote(s.id)}`} />
      {question && <Confirm question={question} close={() => setQuestion(null)} />}
    </Drawer>
  )
}

// Strip is one block per task, so that a look tells how a change goes.
function Strip({ tasks }: { tasks: Task[] }) {
  return <ul className="strip-blocks" aria-label="Tasks as blocks">{tasks.slice(0, 200).map(t => <Block key={t.id} task={t} />)}</ul>
}

function Block({ task: t }: { task: Task }) {
  const { severity } = useWord('task', t.state)
  return <li className={severity}><Link to="/tasks" search={{ sel: t.id }} title={`${t.state}${t.hostname ? ` on ${t.hostname}` : ''}`} aria-label={`Task ${shortTask(t.id)}: ${t.state}`}><Glyph severity={severity} /></Link></li>
}

function TaskRows({ tasks }: { tasks: Task[] }) {
  return (
    <ul className="rows">
      {tasks.slice(0, 100).map(t => (
        <li key={t.id}>
          <State of="task" word={t.state} />
          <Link to="/tasks" search={{ sel: t.id }} title={t.id}><code>{shortTask(t.id)}</code></Link>
          <span className="muted">{t.hostname}</span><span className="muted end"><Ago at={t.endedAt ?? t.startedAt ?? t.createdAt} /></span>
        </li>
      ))}
    </ul>
  )
}
