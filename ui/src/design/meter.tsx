import { percent } from '../format'

// Bar is a share of a whole.
export function Bar({ part, whole, thin, label }: { part: number; whole: number; thin?: boolean; label?: string }) {
  const share = percent(part, whole)
  const named = label ? { role: 'img', 'aria-label': label } : { 'aria-hidden': true }
  return (
    <svg className={thin ? 'bar thin' : 'bar'} viewBox="0 0 100 6" preserveAspectRatio="none" {...named}>
      <rect className="track" width="100" height="6" />
      <rect className={share >= 95 && !thin ? 'given full' : 'given'} width={share} height="6" />
    </svg>
  )
}

// Meter shows what is given out of a whole, and below it, thin, what is really used.
export function Meter({ label, allocated, used, total, text }: { label: string; allocated: number; used?: number | undefined; total: number; text: string }) {
  const inUse = used === undefined ? '' : `, ${Math.round(percent(used, total))}% in use`
  return (
    <span className="meter" title={`${label}: ${text} given out${inUse}`}>
      <Bar part={allocated} whole={total} label={`${label}: ${text} given out${inUse}`} />
      {used !== undefined && <Bar part={used} whole={total} thin />}
      <span className="meter-text" aria-hidden="true">{text}</span>
    </span>
  )
}
