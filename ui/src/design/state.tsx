import { memo } from 'react'
import type { Severity } from '../api/types'
import { useWord } from './words'

// Glyph tells a severity without colour: filled dot, ring being filled, triangle, square with x, hollow dot.
export function Glyph({ severity }: { severity: Severity }) {
  return (
    <svg className={`glyph ${severity}`} viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
      {severity === 'ok' && <circle cx="6" cy="6" r="4.5" fill="currentColor" />}
      {severity === 'working' && <><circle cx="6" cy="6" r="4.25" fill="none" stroke="currentColor" strokeWidth="1.5" /><path d="M6 6V1.75A4.25 4.25 0 0 1 10.25 6Z" fill="currentColor" /></>}
      {severity === 'warn' && <path d="M6 1 11.4 10.6H.6Z" fill="currentColor" />}
      {severity === 'bad' && <path d="M1 1h10v10H1Zm2.4 2.4 5.2 5.2m0-5.2L3.4 8.6" fill="none" stroke="currentColor" strokeWidth="1.5" />}
      {severity === 'idle' && <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="1.5" />}
    </svg>
  )
}

export const State = memo(function State({ of, word }: { of: string; word: string }) {
  const { severity, meaning } = useWord(of, word)
  return <span className={`state ${severity}`} title={meaning || undefined}><Glyph severity={severity} />{word}</span>
})
