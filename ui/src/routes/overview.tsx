import { Link } from '@tanstack/react-router'
import type { Cluster, Deployment, Node } from '../api/types'
import { Ago } from '../design/ago'
import { Cli } from '../design/cli'
import { Skeleton } from '../design/feedback'
import { Bar } from '../design/meter'
import { Glyph, State } from '../design/state'
import { count, cpus, humane, mib, percent } from '../format'
import { useCluster, useComplete, useTopic } from '../live/live'
import { attention, broken, verdict, type Attention } from './verdict'

export function Overview() {
  const cluster = useCluster()
  const complete = useComplete()
  const nodes = useTopic('nodes'), services = useTopic('services'), deployments = useTopic('deployments')
  if (!cluster || !complete) return <div className="screen"><h1 className="hidden">Overview</h1><Skeleton rows={6} /></div>
  const rows = attention(nodes, services)
  const problems = broken(cluster)
  const things = rows.length + problems.length
  const leader = cluster.masters?.find(m => m.leader)
  return (
    <div className="screen overview">
      <h1 className="verdict"><Glyph severity={things ? 'warn' : cluster.leader ? 'ok' : 'bad'} />{verdict(cluster, services.length, things)}</h1>
      <p className="muted lead">
        {cluster.nodes.active ?? 0} of {count(nodes.length, 'node')} active · {count(cluster.tasks.running ?? 0, 'task')} running
        {leader && <> · {leader.name} leads</>}
      </p>
      <Totals cluster={cluster} nodes={nodes} />
      <div className="columns">
        <section className="card" aria-labelledby="needs">
          <h2 id="needs">Needs attention</h2>
          {things === 0 ? <p className="muted fine"><Glyph severity="ok" />Nothing. Everything that is wanted runs.</p> : <Needs problems={problems} rows={rows} />}
        </section>
        {services.length === 0 && deployments.length === 0 ? <FirstSteps /> : <Changes deployments={deployments} />}
      </div>
      <div className="columns">
        <Counts title="Tasks" of="task" counts={cluster.tasks} to="/tasks" none="No task runs yet." />
        <Counts title="Nodes" of="node" counts={cluster.nodes} to="/nodes" none="No node is connected." />
        <Masters cluster={cluster} />
      </div>
    </div>
  )
}

function Totals({ cluster, nodes }: { cluster: Cluster; nodes: readonly Node[] }) {
  const { total: t, allocated: a } = cluster
  const known = nodes.filter(n => n.usage && n.state !== 'lost')
  const used = known.length > 0 ? known.reduce((s, n) => ({ cpus: s.cpus + n.usage!.cpus, mem: s.mem + n.usage!.memBytes / 2 ** 20, disk: s.disk + n.usage!.diskBytes / 2 ** 20 }), { cpus: 0, mem: 0, disk: 0 }) : undefined
  const rows = [
    { name: 'CPU', part: a.cpus, whole: t.cpus, used: used?.cpus, text: `${cpus(a.cpus)} of ${cpus(t.cpus)}`, unit: 'cores given out' },
    { name: 'Memory', part: a.mem, whole: t.mem, used: used?.mem, text: `${mib(a.mem)} of ${mib(t.mem)}`, unit: 'given out' },
    { name: 'Disk', part: a.disk, whole: t.disk, used: used?.disk, text: `${mib(a.disk)} of ${mib(t.disk)}`, unit: 'given out' },
    ...(t.gpus > 0 ? [{ name: 'GPU', part: a.gpus, whole: t.gpus, used: undefined, text: `${a.gpus} of ${t.gpus}`, unit: 'given out' }] : []),
  ]
  return (
    <div className="totals">
      {rows.map(r => (
        <div key={r.name} className="card total">
          <div className="total-head"><span>{r.name}</span><b>{Math.round(percent(r.part, r.whole))}%</b></div>
          <Bar part={r.part} whole={r.whole} />
          <span className="muted small">{r.text} {r.unit}</span>
          {r.used !== undefined && <><Bar part={r.used} whole={r.whole} thin /><span className="muted small">{Math.round(percent(r.used, r.whole))}% in use on the machines</span></>}
        </div>
      ))}
    </div>
  )
}

function Needs({ problems, rows }: { problems: string[]; rows: Attention[] }) {
  return (
    <ul className="needs">
      {problems.map(p => <li key={p}><Glyph severity="bad" /><span>{p}</span></li>)}
      {rows.slice(0, 12).map(r => (
        <li key={r.to + r.sel}>
          <Glyph severity={r.severity} />
          <span><b>{r.text}</b>{r.detail && <small className="muted">{humane(r.detail)}</small>}</span>
          <Link to={r.to} search={{ sel: r.sel }} aria-label={`${r.act}: ${r.text}`}>{r.act}</Link>
        </li>
      ))}
      {rows.length > 12 && <li><span className="muted">and {rows.length - 12} more</span></li>}
    </ul>
  )
}

function Changes({ deployments }: { deployments: readonly Deployment[] }) {
  return (
    <section className="card" aria-labelledby="changes">
      <h2 id="changes">Changes under way</h2>
      {deployments.length === 0 && <p className="muted fine"><Glyph severity="idle" />None.</p>}
      <ul className="needs">
        {deployments.slice(0, 12).map(d => (
          <li key={d.id}>
            <Glyph severity="working" />
            <span><b>{d.affectedApps.join(', ')}</b><small className="muted">{d.currentActions.map(a => words(a.action)).join(', ') || 'waits'} · step {d.currentStep} of {d.totalSteps} · <Ago at={d.version} /></small></span>
            <Link to="/services" search={{ sel: d.affectedApps[0] ?? '' }} aria-label={`Open ${d.affectedApps.join(', ')}`}>Open</Link>
          </li>
        ))}
      </ul>
    </section>
  )
}

// words makes a sentence of Marathon's names: ScaleApplication -> scale application.
const words = (action: string) => action.replaceAll(/([a-z])([A-Z])/g, '$1 $2').toLowerCase()

function FirstSteps() {
  return (
    <section className="card" aria-labelledby="first">
      <h2 id="first">First steps</h2>
      <p className="muted">Install a package: the catalog comes with the cluster.</p>
      <p className="gap"><Link to="/catalog" className="button primary">Open the catalog</Link></p>
      <Cli command="dcos package install hello-world --yes" />
    </section>
  )
}

function Counts({ title, of, counts, to, none }: { title: string; of: string; counts: Record<string, number>; to: '/tasks' | '/nodes'; none: string }) {
  const rows = Object.entries(counts).filter(([, n]) => n > 0).sort(([, a], [, b]) => b - a)
  const id = `counts-${of}`
  return (
    <section className="card" aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {rows.length === 0 && <p className="muted">{none}</p>}
      <ul className="counts">
        {rows.map(([word, n]) => <li key={word}><State of={of} word={word} /><Link to={to} search={{ q: word }} aria-label={`${n} ${word}: show`}>{n.toLocaleString('en')}</Link></li>)}
      </ul>
    </section>
  )
}

function Masters({ cluster }: { cluster: Cluster }) {
  return (
    <section className="card" aria-labelledby="masters">
      <h2 id="masters">Masters</h2>
      <ul className="counts">
        {(cluster.masters ?? []).map(m => (
          <li key={m.id}>
            <span className={`state ${m.alive ? 'ok' : 'bad'}`}><Glyph severity={m.alive ? 'ok' : 'bad'} />{m.name}</span>
            <span className="muted">{m.leader ? 'leads' : m.alive ? (m.voter ? 'follows' : 'is joining') : 'does not answer'}</span>
          </li>
        ))}
      </ul>
    </section>
  )
}
