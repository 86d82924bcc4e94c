import { useCallback, useMemo } from 'react'
import { Link } from '@tanstack/react-router'
import type { Node } from '../api/types'
import { Ago } from '../design/ago'
import { Drawer } from '../design/drawer'
import { Empty, Skeleton } from '../design/feedback'
import { Grid, type Column } from '../design/grid'
import { Meter } from '../design/meter'
import { State } from '../design/state'
import { useRank } from '../design/words'
import { cpus, mib, ports, shortTask } from '../format'
import { useComplete, useTopic } from '../live/live'
import { ListHead, matches, NoMatch, useAddress } from './list'

const keyOf = (n: Node) => n.id
const nameOf = (n: Node) => n.hostname || n.id
const place = (n: Node) => [n.region, n.zone].filter(Boolean).join('/')

function useColumns(): Column<Node>[] {
  const rank = useRank('node')
  return useMemo(() => [
    { key: 'state', title: 'State', width: '92px', sort: n => rank(n.state), cell: n => <State of="node" word={n.state} /> },
    { key: 'name', title: 'Node', width: 'minmax(100px,1.6fr)', sort: nameOf, cell: n => <span className="main-cell" title={n.id}>{nameOf(n)}</span> },
    { key: 'ip', title: 'Address', width: 'minmax(110px,1fr)', sort: n => n.ip, cell: n => <code>{n.ip}</code>, room: 900 },
    { key: 'zone', title: 'Zone', width: 'minmax(80px,.8fr)', sort: place, cell: n => place(n) || <span className="muted">–</span>, room: 1000 },
    { key: 'cpu', title: 'CPU', width: 'minmax(120px,1.3fr)', sort: n => -n.allocated.cpus / (n.total.cpus || 1), cell: n => <Meter label="CPU" allocated={n.allocated.cpus} used={n.usage?.cpus} total={n.total.cpus} text={`${cpus(n.allocated.cpus)} / ${cpus(n.total.cpus)}`} /> },
    { key: 'mem', title: 'Memory', width: 'minmax(150px,1.3fr)', sort: n => -n.allocated.mem / (n.total.mem || 1), cell: n => <Meter label="Memory" allocated={n.allocated.mem} used={n.usage && n.usage.memBytes / 2 ** 20} total={n.total.mem} text={`${mib(n.allocated.mem)} / ${mib(n.total.mem)}`} />, room: 540 },
    { key: 'tasks', title: 'Tasks', width: '76px', sort: n => -n.tasks, cell: n => n.tasks.toLocaleString('en'), number: true, room: 640 },
  ], [rank])
}

export function Nodes() {
  const rows = useTopic('nodes')
  const complete = useComplete()
  const [{ q = '', sel }, go] = useAddress('/nodes')
  const columns = useColumns()
  const shown = useMemo(() => (q ? rows.filter(n => matches(q, n.id, n.hostname, n.ip, n.state, n.zone, n.region, ...Object.entries(n.attributes ?? {}).flat())) : rows), [rows, q])
  const node = sel ? rows.find(n => n.id === sel) : undefined
  const close = useCallback(() => go({ sel: '' }), [go])
  return (
    <div className={node ? 'screen list split' : 'screen list'}>
      <div className="list-pane">
        <ListHead title="Nodes" filter={q} setFilter={x => go({ q: x })} shown={shown.length} total={rows.length} />
        {!complete ? <Skeleton rows={8} /> : rows.length === 0
          ? <Empty title="No nodes yet" command="dcos install --role agent --join MASTER:7444 --token TOKEN">A node is a machine that runs tasks. Install dcos on a machine and let it join.</Empty>
          : <Grid label="Nodes" rows={shown} columns={columns} keyOf={keyOf} nameOf={nameOf} first={{ key: 'state' }} selected={sel} open={id => go({ sel: id })} empty={<NoMatch total={rows.length} what="nodes" clear={() => go({ q: '' })} />} />}
      </div>
      {node && <Details node={node} close={close} />}
    </div>
  )
}

function Details({ node: n, close }: { node: Node; close: () => void }) {
  const all = useTopic('tasks')
  const tasks = useMemo(() => all.filter(t => t.node === n.id && !t.endedAt), [all, n.id])
  const facts: [string, React.ReactNode][] = [
    ['Id', <code key="id">{n.id}</code>], ['Address', <code key="ip">{n.ip}</code>], ['Place', place(n) || '–'],
    ['In this state since', <Ago key="since" at={n.since} />], ['Version', n.version || '–'],
    ['Isolation', n.isolation === 'container' ? 'containers' : 'plain processes'],
    ['Ports free', `${ports(n.free.ports).toLocaleString('en')} of ${ports(n.total.ports).toLocaleString('en')}`],
  ]
  return (
    <Drawer id={n.id} title={nameOf(n)} kicker={<><State of="node" word={n.state} />{n.why && <span className="muted">{n.why}</span>}</>} close={close}>
      <h3>Resources</h3>
      <div className="meters">
        <div><span>CPU</span><Meter label="CPU" allocated={n.allocated.cpus} used={n.usage?.cpus} total={n.total.cpus} text={`${cpus(n.allocated.cpus)} of ${cpus(n.total.cpus)}${n.usage ? `, ${cpus(n.usage.cpus)} used` : ''}`} /></div>
        <div><span>Memory</span><Meter label="Memory" allocated={n.allocated.mem} used={n.usage && n.usage.memBytes / 2 ** 20} total={n.total.mem} text={`${mib(n.allocated.mem)} of ${mib(n.total.mem)}${n.usage ? `, ${mib(n.usage.memBytes / 2 ** 20)} used` : ''}`} /></div>
        <div><span>Disk</span><Meter label="Disk" allocated={n.allocated.disk} total={n.total.disk} text={`${mib(n.allocated.disk)} of ${mib(n.total.disk)}`} /></div>
        {n.total.gpus > 0 && <div><span>GPU</span><Meter label="GPU" allocated={n.allocated.gpus} total={n.total.gpus} text={`${n.allocated.gpus} of ${n.total.gpus}`} /></div>}
      </div>
      {n.notEnforced && n.notEnforced.length > 0 && <p className="note">Not enforced on this node: {n.notEnforced.join(', ')}.</p>}
      <h3>Tasks <span className="muted">{tasks.length}</span></h3>
      {tasks.length === 0 ? <p className="muted">No task runs here.</p> : (
        <ul className="rows">
          {tasks.slice(0, 200).map(t => <li key={t.id}><State of="task" word={t.state} /><Link to="/tasks" search={{ sel: t.id }} title={t.id}>{t.app} <span className="muted">{shortTask(t.id)}</span></Link></li>)}
        </ul>
      )}
      <h3>Facts</h3>
      <dl>{[...facts, ...Object.entries(n.attributes ?? {}).sort()].map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
    </Drawer>
  )
}
