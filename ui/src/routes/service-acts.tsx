// What can be done to a service, each with what follows from it in words.
import { useId, useState, type FormEvent } from 'react'
import * as calls from '../api/calls'
import { asError, type ApiError } from '../api/http'
import type { Service } from '../api/types'
import { Cli } from '../design/cli'
import { Confirm, type Question } from '../design/confirm'
import { ErrorBox, say } from '../design/feedback'
import { count } from '../format'

export function restarting(s: Service): Question {
  return {
    title: `Restart ${s.id}?`, act: 'Restart', danger: true, command: calls.cli.restart(s.id), forced: calls.cli.restart(s.id, true),
    body: <p>{count(s.running, 'running task')} {s.running === 1 ? 'is' : 'are'} replaced by new {s.running === 1 ? 'one' : 'ones'}. Its settings stay.</p>,
    run: async force => { await calls.restart(s.id, force); say(`${s.id} restarts.`) },
  }
}

export function removal(s: Service): Question {
  const ends = s.running === 0 ? 'No task runs now.' : `${count(s.running, 'task')} ${s.running === 1 ? 'ends' : 'end'} now.`
  const act = s.package ? 'Uninstall' : 'Remove'
  return {
    title: `${act} ${s.id}?`, act, danger: true, typed: s.id.replace(/^\//, ''), command: calls.cli.remove(s),
    body: <p>{ends} The service, its settings and its history go with it. This cannot be undone.</p>,
    run: async () => { await calls.remove(s); say(`${s.id} is being removed.`) },
  }
}

const most = 1_000_000

function scaleDown(s: Service, to: number): Question {
  const less = s.instances - to
  return {
    title: to === 0 ? `Stop ${s.id}?` : `Scale ${s.id} down to ${to}?`, act: to === 0 ? 'Stop' : 'Scale down', danger: true,
    command: calls.cli.scale(s.id, to), forced: calls.cli.scale(s.id, to, true),
    body: <p>{count(less, 'instance')} {less === 1 ? 'ends' : 'end'}.{to === 0 && ' Its settings stay: start it again at any time.'}</p>,
    run: async force => { await calls.scale(s.id, to, force); say(to === 0 ? `${s.id} stops.` : `${s.id} scales to ${to}.`) },
  }
}

// ScaleForm asks before instances end, and does at once what can be undone at once.
export function ScaleForm({ service: s, disabled }: { service: Service; disabled: boolean }) {
  const id = useId()
  const [text, setText] = useState<string | null>(null) // null: as it is
  const [error, setError] = useState<ApiError | null>(null)
  const [question, setQuestion] = useState<Question | null>(null)
  const [busy, setBusy] = useState(false)
  const to = text === null ? s.instances : Number(text)
  const valid = text === null || (/^\d+$/.test(text) && to <= most)
  const changed = valid && to !== s.instances

  const up = async (force: boolean) => {
    setBusy(true)
    try {
      await calls.scale(s.id, to, force)
      setError(null)
      setText(null)
      say(`${s.id} scales to ${count(to, 'instance')}.`)
    } catch (e) {
      setError(asError(e))
    } finally {
      setBusy(false)
    }
  }
  const submit = (e: FormEvent) => {
    e.preventDefault()
    if (!changed || busy) return
    if (to < s.instances) setQuestion(scaleDown(s, to))
    else void up(false)
  }
  const step = (by: number) => setText(String(Math.max(0, Math.min(most, (valid ? to : s.instances) + by))))
  return (
    <>
      <form className="scale" onSubmit={submit}>
        <label htmlFor={id}>Instances</label>
        <span className="stepper">
          <button type="button" aria-label="One less" disabled={disabled || to <= 0} onClick={() => step(-1)}>−</button>
          <input id={id} inputMode="numeric" value={text ?? String(s.instances)} onChange={e => setText(e.target.value.trim())} disabled={disabled} aria-invalid={!valid} autoComplete="off" />
          <button type="button" aria-label="One more" disabled={disabled} onClick={() => step(1)}>+</button>
        </span>
        <button type="submit" className="primary" disabled={disabled || !changed || busy}>{to === 0 && changed ? 'Stop' : 'Scale'}</button>
        {changed && <Cli command={calls.cli.scale(s.id, to)} />}
        {!valid && <p className="field-error">A whole number from 0 to {most.toLocaleString('en')} is expected.</p>}
        {error && !error.locked && <ErrorBox title="It was not scaled" error={error} />}
        {error?.locked && <div className="problem warn" role="alert"><strong>A change is under way</strong><span>It has to be replaced by this one, or finish first.</span><div><button type="button" onClick={() => void up(true)}>Replace it</button></div></div>}
      </form>
      {question && <Confirm question={question} close={() => { setQuestion(null); setText(null) }} />}
    </>
  )
}
