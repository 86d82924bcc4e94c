import { percent } from '../format'

// Meter shows what is given out (hatched) and what is really used (solid) of a whole.
export function Meter({ label, allocated, used, total, text }: { label: string; allocated: number; used?: number | undefined; total: number; text: string }) {
  const given = percent(allocated, total)
  return (
    <span className="meter">
      <svg className="bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label={`${label}: ${text}${used === undefined ? '' : `, ${Math.round(percent(used, total))}% really used`}`}>
        <rect className="track" width="100" height="6" />
        <rect className={given >= 95 ? 'given full' : 'given'} width={given} height="6" />
        {used !== undefined && <rect className="used" width={percent(used, total)} height="6" />}
      </svg>
      <span className="meter-text" aria-hidden="true">{text}</span>
    </span>
  )
}
