import { useCallback, useMemo, useState } from 'react'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import * as calls from '../api/calls'
import { asError } from '../api/http'
import type { Installed, PackageSummary } from '../api/types'
import { Ago } from '../design/ago'
import { Confirm, type Question } from '../design/confirm'
import { Empty, ErrorBox, Skeleton } from '../design/feedback'
import { Glyph } from '../design/state'
import { useTopic } from '../live/live'
import { Install } from './install'
import { ListHead, matches, NoMatch, useAddress } from './list'
import { removal } from './service-acts'

export function Catalog() {
  const [{ q = '', sel }, go] = useAddress('/catalog')
  const found = useQuery({ queryKey: ['packages'], queryFn: ({ signal }) => calls.search(signal), staleTime: 60_000 })
  const installed = useTopic('packages')
  const all = useMemo(() => found.data?.packages ?? [], [found.data])
  const shown = useMemo(() => all.filter(p => matches(q, p.name, p.description, ...(p.tags ?? []))), [all, q])
  const back = useCallback(() => go({ sel: '' }), [go])
  if (found.isError) return <div className="screen"><h1>Catalog</h1><ErrorBox title="The catalog could not be read" error={asError(found.error)} retry={() => void found.refetch()} /></div>
  if (sel) return <Package name={sel} back={back} installed={installed.filter(p => p.name === sel)} />
  return (
    <div className="screen">
      <ListHead title="Catalog" filter={q} setFilter={x => go({ q: x })} shown={shown.length} total={all.length} />
      {found.isPending ? <Skeleton rows={4} /> : all.length === 0 ? <Empty title="The catalog is empty">No package comes with this cluster.</Empty>
        : shown.length === 0 ? <NoMatch total={all.length} what="packages" clear={() => go({ q: '' })} />
          : <ul className="packages">{shown.map(p => <li key={p.name}><Card of={p} n={installed.filter(i => i.name === p.name).length} /></li>)}</ul>}
    </div>
  )
}

function Card({ of: p, n }: { of: PackageSummary; n: number }) {
  return (
    <Link to="/catalog" search={{ sel: p.name }} className="card package">
      <Badge name={p.name} />
      <span className="package-name">{p.name} <span className="muted">{p.currentVersion}</span></span>
      <span className="package-text">{p.description}</span>
      <span className="tags">{(p.tags ?? []).map(t => <span key={t} className="tag">{t}</span>)}<span className="grow" />{n > 0 && <span className="state ok"><Glyph severity="ok" />{n === 1 ? 'installed' : `installed ${n} times`}</span>}</span>
    </Link>
  )
}

// Badge stands for a package without an icon: two letters.
function Badge({ name }: { name: string }) {
  const letters = name.split(/[-_]/).map(w => w.charAt(0)).join('').slice(0, 2)
  return <span className="badge-icon" aria-hidden="true">{letters.length > 1 ? letters : name.slice(0, 2)}</span>
}

function Package({ name, back, installed }: { name: string; back: () => void; installed: readonly Installed[] }) {
  const described = useQuery({ queryKey: ['package', name], queryFn: ({ signal }) => calls.describe(name, signal), staleTime: 60_000 })
  const p = described.data?.package
  return (
    <div className="screen">
      <p className="crumb"><button type="button" className="plain" onClick={back}>‹ Catalog</button></p>
      <div className="package-head"><Badge name={name} /><h1>{name} {p && <span className="muted">{p.version}</span>}</h1></div>
      {described.isError && <ErrorBox title="The package could not be read" error={asError(described.error)} retry={() => void described.refetch()} />}
      {described.isPending && <Skeleton rows={5} />}
      {p && (
        <>
          <p className="lead">{p.description}</p>
          <p className="muted small">
            {[p.maintainer, p.licenses?.map(l => l.name).join(', ')].filter(Boolean).join(' · ')}
            {p.website && /^https?:/.test(p.website) && <> · <a href={p.website} target="_blank" rel="noopener noreferrer">website<span className="hidden"> (opens in a new tab)</span></a></>}
          </p>
          {installed.length > 0 && <InstalledList rows={installed} />}
          <Install key={p.version} definition={p} />
        </>
      )}
    </div>
  )
}

function InstalledList({ rows }: { rows: readonly Installed[] }) {
  const services = useTopic('services')
  const [question, setQuestion] = useState<Question | null>(null)
  return (
    <section className="card" aria-labelledby="installed">
      <h2 id="installed">Installed</h2>
      <ul className="rows">
        {rows.map(r => {
          const s = services.find(x => x.id === r.app)
          return (
            <li key={r.app}>
              <Link to="/services" search={{ sel: r.app }}>{r.app}</Link>
              <span className="muted">{r.version} · <Ago at={r.installedAt} />{s && ` · ${s.running}/${s.instances} running`}</span>
              <span className="grow" />
              {s && <button type="button" className="danger" aria-label={`Uninstall ${r.app}`} disabled={s.state === 'deleting'} onClick={() => setQuestion(removal(s))}>Uninstall</button>}
            </li>
          )
        })}
      </ul>
      {question && <Confirm question={question} close={() => setQuestion(null)} />}
    </section>
  )
}
