import { useEffect, useId, useRef, useState, type ReactNode } from 'react'
import { asError, type ApiError } from '../api/http'
import { Cli } from './cli'
import { ErrorBox } from './feedback'

export interface Question {
  title: string
  body: ReactNode
  act: string // the button
  danger?: boolean
  typed?: string // what has to be typed before it is done
  command: string
  forced?: string // the command when a change under way is replaced
  run: (force: boolean) => Promise<void>
}

// Confirm asks before something is done, stays until it was accepted, and shows why when it was not.
export function Confirm({ question: q, close }: { question: Question; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const title = useId(), field = useId()
  const [typed, setTyped] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<ApiError | null>(null)
  useEffect(() => { dialog.current?.showModal() }, [])
  const force = error?.locked ?? false

  const go = async () => {
    setBusy(true)
    try {
      await q.run(force)
      close()
    } catch (e) {
      setError(asError(e))
    } finally {
      setBusy(false)
    }
  }
  return (
    <dialog ref={dialog} aria-labelledby={title} onClose={close} className="confirm">
      <form onSubmit={e => { e.preventDefault(); if (!busy && (!q.typed || typed === q.typed)) void go() }}>
        <h2 id={title}>{q.title}</h2>
        <div>{q.body}</div>
        {q.typed && (
          <div className="field">
            <label htmlFor={field}>Type <b>{q.typed}</b> to confirm</label>
            <input id={field} value={typed} onChange={e => setTyped(e.target.value)} autoComplete="off" spellCheck={false} />
          </div>
        )}
        {error && !force && <ErrorBox title="It was not done" error={error} />}
        {force && <div className="problem warn" role="alert"><strong>A change is under way</strong><span>It has to be replaced by this one, or finish first.</span></div>}
        <Cli command={force && q.forced ? q.forced : q.command} />
        <div className="buttons">
          {/* eslint-disable-next-line jsx-a11y/no-autofocus -- a question that cannot be undone begins at Cancel */}
          <button type="button" autoFocus={!q.typed} onClick={close}>Cancel</button>
          <button type="submit" className={q.danger ? 'danger' : 'primary'} disabled={busy || (q.typed !== undefined && typed !== q.typed)}>
            {busy ? 'Asking…' : force ? `${q.act}, replacing the change` : q.act}
          </button>
        </div>
      </form>
    </dialog>
  )
}
