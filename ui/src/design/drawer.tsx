import { useEffect, useId, useRef, type ReactNode } from 'react'

// Drawer shows one row in detail beside its table. Escape closes it; focus goes in and comes back.
export function Drawer({ id, title, kicker, close, children }: { id: string; title: ReactNode; kicker: ReactNode; close: () => void; children: ReactNode }) {
  const heading = useId()
  const ref = useRef<HTMLElement>(null)
  useEffect(() => {
    const before = document.activeElement
    ref.current?.focus({ preventScroll: true })
    return () => { if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true }) }
  }, [id])
  useEffect(() => {
    const onKey = (e: KeyboardEvent) => { if (e.key === 'Escape' && !document.querySelector('dialog[open]')) close() }
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  }, [close])
  return (
    <section ref={ref} className="drawer" tabIndex={-1} aria-labelledby={heading}>
      <header>
        <div className="kicker">{kicker}</div>
        <h2 id={heading}>{title}</h2>
        <button type="button" className="plain close" aria-label="Close details" onClick={close}>×</button>
      </header>
      <div className="drawer-body">{children}</div>
    </section>
  )
}
