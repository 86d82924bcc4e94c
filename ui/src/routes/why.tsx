import { keepPreviousData, useQuery } from '@tanstack/react-query'
import * as calls from '../api/calls'
import { asError } from '../api/http'
import type { Service, WhyFilter } from '../api/types'
import { Ago } from '../design/ago'
import { Cli } from '../design/cli'
import { ErrorBox, Skeleton } from '../design/feedback'
import { Bar } from '../design/meter'
import { count } from '../format'
import { useCluster } from '../live/live'

// WhyPanel says why a service does not run as wanted. The question is asked anew when something
// changed that the answer may depend on.
export function WhyPanel({ service: s }: { service: Service }) {
  const given = useCluster()?.allocated
  const why = useQuery({
    queryKey: ['why', s.id, s.version, s.running, s.waiting, s.why, given?.cpus, given?.mem],
    queryFn: ({ signal }) => calls.why(s.id, signal),
    placeholderData: keepPreviousData,
  })
  if (why.isError) return <ErrorBox title="Why it waits is not known" error={asError(why.error)} retry={() => void why.refetch()} />
  const w = why.data
  return (
    <section className="why" aria-labelledby="why">
      <h3 id="why">Why it does not run</h3>
      {!w ? <Skeleton rows={3} /> : (
        <>
          <p className="why-summary">{w.summary}</p>
          {(w.details ?? []).filter(d => !saidIn(w.summary, d)).map(d => <p key={d} className="muted">{d}</p>)}
          {(w.funnel?.length ?? 0) > 0 && <Funnel steps={w.funnel!} />}
          {(w.suggest?.length ?? 0) > 0 && (
            <>
              <h4>What would let it run</h4>
              <ul className="suggest">{w.suggest!.map(x => <li key={x}>{x}</li>)}</ul>
            </>
          )}
          {w.lastError && <p className="note">Last failure <Ago at={w.lastError.timestamp} />{w.lastError.host && ` on ${w.lastError.host}`}: {w.lastError.message}</p>}
        </>
      )}
      <Cli command={calls.cli.why(s.id)} />
    </section>
  )
}

// saidIn says whether a detail, without its count, is part of the summary already.
function saidIn(summary: string, detail: string): boolean { return summary.includes(detail.replace(/^\d+ instances?: /, '')) }

// Funnel shows how many nodes are left behind each filter.
function Funnel({ steps }: { steps: WhyFilter[] }) {
  const all = (steps[0]?.left ?? 0) + (steps[0]?.rejected ?? 0)
  return (
    <ol className="funnel" aria-label="Nodes that are left behind each condition">
      <li className="all"><span className="funnel-name">all nodes</span><Bar part={all} whole={all} thin /><b>{all.toLocaleString('en')}</b></li>
      {steps.map((f, i) => (
        <li key={`${i} ${f.filter}`} className={f.left === 0 ? 'none' : f.rejected === 0 ? 'same' : ''}>
          <span className="funnel-name">{f.filter}</span><Bar part={f.left} whole={all} thin /><b>{f.left.toLocaleString('en')}</b>
          {f.rejected > 0 && <span className="reasons">{(f.reasons ?? []).join('; ') || `${count(f.rejected, 'node')} passed over`}</span>}
        </li>
      ))}
    </ol>
  )
}
