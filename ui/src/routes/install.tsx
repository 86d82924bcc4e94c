import { useMemo, useState, type FormEvent } from 'react'
import { useMutation, useQuery, keepPreviousData } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import * as calls from '../api/calls'
import { asError } from '../api/http'
import type { PackageDefinition } from '../api/types'
import { Cli } from '../design/cli'
import { Code, ErrorBox, say } from '../design/feedback'
import { count } from '../format'
import { changes, checker, defaults, type Field, type Options } from '../forms/schema'
import { useTopic } from '../live/live'
import { SchemaForm } from '../forms/schema-form'

const none: Field = { type: 'object', properties: {} }

// useDraft keeps what was typed for as long as the tab lives: a form is never lost by looking elsewhere.
function useDraft(key: string, initial: Options): [Options, (next: Options) => void, () => void] {
  const [draft, setDraft] = useState<Options>(() => {
    try { return (JSON.parse(sessionStorage.getItem(key) ?? 'null') as Options | null) ?? initial } catch { return initial }
  })
  const save = (next: Options) => {
    setDraft(next)
    try { sessionStorage.setItem(key, JSON.stringify(next)) } catch { /* full or forbidden: it lives in memory */ }
  }
  const drop = () => { try { sessionStorage.removeItem(key) } catch { /* as above */ } }
  return [draft, save, drop]
}

// useTaken is the service that has the name which the options ask for; "" when it is free.
function useTaken(options: Options): string {
  const name = (options.service as Options | undefined)?.name
  const id = typeof name === 'string' ? `/${name.replaceAll(/^\/+/g, '')}` : ''
  return useTopic('services').some(s => s.id === id) ? id : ''
}

export function Install({ definition: p }: { definition: PackageDefinition }) {
  const schema = (p.config as Field | undefined) ?? none
  const before = useMemo(() => (defaults(schema) ?? {}) as Options, [schema])
  const check = useMemo(() => checker(schema), [schema])
  const [options, setOptions, drop] = useDraft(`dcos.install.${p.name}.${p.version}`, before)
  const errors = useMemo(() => check(options), [check, options])
  const changed = useMemo(() => changes(options, before), [options, before])
  const navigate = useNavigate()
  const valid = errors.size === 0
  const taken = useTaken(options)
  const plan = useQuery({
    queryKey: ['plan', p.name, p.version, changed], enabled: valid && !taken, staleTime: 5_000, placeholderData: keepPreviousData,
    queryFn: async ({ signal }) => {
      await new Promise(r => setTimeout(r, 250)) // while one types, nothing is asked
      signal.throwIfAborted()
      return calls.tryInstall(p.name, p.version, changed, signal)
    },
  })
  const install = useMutation({
    mutationFn: () => calls.install(p.name, p.version, changed),
    onSuccess: r => {
      drop()
      say(r.postInstallNotes ?? `${p.name} is starting.`)
      void navigate({ to: '/services', search: r.appId ? { sel: r.appId } : {} })
    },
  })
  const submit = (e: FormEvent) => {
    e.preventDefault()
    if (valid && !taken && !install.isPending) install.mutate()
  }
  const fields = Object.keys(schema.properties ?? {}).length
  return (
    <form className="install" onSubmit={submit} noValidate>
      <div className="card">
        <h2>Options</h2>
        {fields === 0 ? <p className="muted">This package has no options.</p> : <SchemaForm schema={schema} options={options} before={before} errors={errors} set={setOptions} />}
      </div>
      <div className="card review">
        <h2>Review</h2>
        {p.preInstallNotes && <p className="note">{p.preInstallNotes}</p>}
        {!valid && <p className="problem" role="status"><strong>{count(errors.size, 'option')} to correct</strong></p>}
        {taken && <p className="note" role="status">There is a service <Link to="/services" search={{ sel: taken }}>{taken}</Link> already. Another name makes a second one.</p>}
        {valid && !taken && plan.isError && <ErrorBox title="It cannot be installed like this" error={asError(plan.error)} />}
        {valid && !taken && plan.data && !plan.isError && <ul className="would">{plan.data.would.map(w => <li key={w}>{w}</li>)}</ul>}
        <h3>What differs from the defaults</h3>
        {Object.keys(changed).length === 0 ? <p className="muted">Nothing.</p> : <Code label="Changed options" value={changed} />}
        {valid && !taken && plan.data?.app && !plan.isError && <details><summary>App definition</summary><Code label="App definition" value={plan.data.app} /></details>}
        {install.isError && <ErrorBox title="It was not installed" error={asError(install.error)} />}
        {valid && !taken && <Cli command={calls.cli.install(p.name, changed)} />}
        <div className="buttons">
          {Object.keys(changed).length > 0 && <button type="button" onClick={() => setOptions(before)}>All defaults</button>}
          <button type="submit" className="primary" disabled={!valid || taken !== '' || install.isPending || plan.isError}>{install.isPending ? 'Installing…' : `Install ${p.name}`}</button>
        </div>
      </div>
    </form>
  )
}
