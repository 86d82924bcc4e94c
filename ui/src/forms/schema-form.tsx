import { createContext, useContext, useId, useState } from 'react'
import { label } from '../format'
import { pointer, put, same, typeOf, type Field, type Options } from './schema'

interface Form { options: Options; before: unknown; errors: ReadonlyMap<string, string>; set: (next: Options) => void }
const FormContext = createContext<Form | null>(null)

// SchemaForm shows an object's fields; objects in it are groups.
export function SchemaForm({ schema, ...form }: Form & { schema: Field }) {
  return <FormContext.Provider value={form}><Group schema={schema} path={[]} /></FormContext.Provider>
}

function at(options: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((v, name) => (typeof v === 'object' && v !== null ? (v as Options)[name] : undefined), options)
}

function Group({ schema, path }: { schema: Field; path: readonly string[] }) {
  return (
    <div className="fields">
      {Object.entries(schema.properties ?? {}).map(([name, child]) => {
        const below = [...path, name]
        if (typeOf(child) !== 'object' || !child.properties) return <Value key={name} name={name} schema={child} path={below} needed={schema.required?.includes(name) ?? false} />
        return (
          <fieldset key={name}>
            <legend>{child.title ?? label(name)}</legend>
            {child.description && <p className="muted">{child.description}</p>}
            <Group schema={child} path={below} />
          </fieldset>
        )
      })}
    </div>
  )
}

function Value({ name, schema, path, needed }: { name: string; schema: Field; path: readonly string[]; needed: boolean }) {
  const form = useContext(FormContext)!
  const id = useId()
  const value = at(form.options, path)
  const before = at(form.before, path)
  const error = form.errors.get(pointer(path))
  const changed = !same(value, before)
  const set = (v: unknown) => form.set(put(form.options, path, v))
  const type = typeOf(schema)
  const hint = schema.description ? `${id}-hint` : undefined
  const described = [hint, error && `${id}-error`].filter(Boolean).join(' ') || undefined
  const shared = { id, 'aria-describedby': described, 'aria-invalid': error ? true : undefined, required: needed && type !== 'boolean' } as const
  return (
    <div className={type === 'boolean' ? 'field boolean' : 'field'}>
      <div className="field-head">
        <label htmlFor={id}>{schema.title ?? label(name)}</label>
        {changed && <button type="button" className="plain small" onClick={() => set(before)} >Back to {before === undefined || before === '' ? 'empty' : JSON.stringify(before)}<span className="hidden"> for {schema.title ?? label(name)}</span></button>}
      </div>
      <Input schema={schema} type={type} value={value} set={set} shared={shared} />
      {hint && <p id={hint} className="muted small">{schema.description}</p>}
      {error && <p id={`${id}-error`} className="field-error">{error}</p>}
    </div>
  )
}

interface InputProps { schema: Field; type: string; value: unknown; set: (v: unknown) => void; shared: { id: string; 'aria-describedby': string | undefined; 'aria-invalid': true | undefined; required: boolean } }

function Input({ schema, type, value, set, shared }: InputProps) {
  if (type === 'boolean') {
    return <input type="checkbox" {...shared} checked={value === true} onChange={e => set(e.target.checked)} />
  }
  if (schema.enum) {
    return (
      <select {...shared} value={String(schema.enum.findIndex(x => same(x, value)))} onChange={e => set(schema.enum![Number(e.target.value)])}>
        {!schema.enum.some(x => same(x, value)) && <option value="-1">–</option>}
        {schema.enum.map((x, i) => <option key={String(x)} value={i}>{String(x)}</option>)}
      </select>
    )
  }
  if (type === 'integer' || type === 'number') {
    return <input {...shared} type="number" step={type === 'integer' ? 1 : 'any'} min={schema.minimum} max={schema.maximum} value={typeof value === 'number' ? value : ''} onChange={e => set(e.target.value === '' ? undefined : e.target.valueAsNumber)} />
  }
  if (type === 'string') return <input {...shared} type="text" value={typeof value === 'string' ? value : ''} onChange={e => set(e.target.value)} spellCheck={false} autoComplete="off" />
  return <Json value={value} set={set} shared={shared} />
}

// Json takes what has no field of its own: lists, and objects of any shape.
function Json({ value, set, shared }: Omit<InputProps, 'schema' | 'type'>) {
  const [text, setText] = useState(() => (value === undefined ? '' : JSON.stringify(value, null, 2)))
  const [wrong, setWrong] = useState(false)
  const change = (next: string) => {
    setText(next)
    try {
      set(next.trim() === '' ? undefined : JSON.parse(next))
      setWrong(false)
    } catch { setWrong(true) }
  }
  return <><textarea {...shared} rows={3} value={text} onChange={e => change(e.target.value)} spellCheck={false} />{wrong && <p className="field-error">This is not JSON yet.</p>}</>
}
