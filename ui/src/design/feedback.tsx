// What is said when there is nothing to show, when something failed, and when something was done.
import { useEffect, useState, useSyncExternalStore, type ReactNode } from 'react'
import type { ApiError } from '../api/http'
import { Cli } from './cli'

export function Empty({ title, children, command }: { title: string; children?: ReactNode; command?: string }) {
  return (
    <div className="empty">
      <h2>{title}</h2>
      <div className="muted">{children}</div>
      {command && <Cli command={command} />}
    </div>
  )
}

export function ErrorBox({ title, error, retry }: { title: string; error: ApiError; retry?: (() => void) | undefined }) {
  return (
    <div className="problem" role="alert">
      <strong>{title}</strong>
      <span>{error.detail}</span>
      {error.fields.length > 0 && <ul>{error.fields.map(f => <li key={f.path + f.text}><code>{f.path || '/'}</code> {f.text}</li>)}</ul>}
      {error.hint && <span className="muted">Next: {error.hint}.</span>}
      {retry && <div><button type="button" onClick={retry}>Try again</button></div>}
    </div>
  )
}

// Skeleton stands where rows will be; it appears only when one would wait for them.
export function Skeleton({ rows = 4 }: { rows?: number }) {
  const [slow, setSlow] = useState(false)
  useEffect(() => { const t = setTimeout(() => setSlow(true), 150); return () => clearTimeout(t) }, [])
  return <div className="skeleton" aria-busy="true" aria-label="Loading">{slow && Array.from({ length: rows }, (_, i) => <span key={i} />)}</div>
}

interface Toast { id: number; text: string; link?: { href: string; text: string } }
let toasts: readonly Toast[] = []
let last = 0
const listeners = new Set<() => void>()
const publish = (next: readonly Toast[]) => { toasts = next; listeners.forEach(f => f()) }

export function say(text: string, link?: { href: string; text: string }) {
  const toast: Toast = link ? { id: ++last, text, link } : { id: ++last, text }
  publish([...toasts.slice(-1), toast])
  setTimeout(() => publish(toasts.filter(t => t.id !== toast.id)), 6000)
}

export function Toasts() {
  const shown = useSyncExternalStore(f => { listeners.add(f); return () => { listeners.delete(f) } }, () => toasts)
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map(t => (
        <div key={t.id} className="toast">
          <span>{t.text}</span>
          {t.link && <a href={t.link.href}>{t.link.text}</a>}
          <button type="button" className="plain" aria-label="Dismiss" onClick={() => publish(toasts.filter(x => x.id !== t.id))}>×</button>
        </div>
      ))}
    </div>
  )
}

// Code shows a document; it can be scrolled by keyboard.
export function Code({ label, value }: { label: string; value: unknown }) {
  // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a region that scrolls must be reachable by keyboard
  return <pre role="region" tabIndex={0} aria-label={label}>{JSON.stringify(value, null, 2)}</pre>
}
