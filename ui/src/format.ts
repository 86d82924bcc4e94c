// Numbers and times as people read them.

const trim = (n: number, digits: number) => n.toFixed(digits).replace(/\.0+$|(\.\d*?)0+$/, '$1')

export function cpus(n: number): string { return n >= 100 ? Math.round(n).toString() : trim(n, 2) }

// bytes of an amount in MiB.
export function mib(n: number): string {
  if (n >= 1024 * 1024) return `${trim(n / 1024 / 1024, 2)} TiB`
  if (n >= 1024) return `${trim(n / 1024, 1)} GiB`
  return `${trim(n, 0)} MiB`
}

export function count(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString('en')} ${n === 1 ? one : many}`
}

export function percent(part: number, whole: number): number {
  return whole > 0 ? Math.min(100, Math.max(0, (100 * part) / whole)) : 0
}

// ago is how long ago something was, in one unit.
export function ago(ms: number): string {
  const s = Math.floor(ms / 1000)
  if (s < 0) return `in ${span(-s)}`
  if (s < 2) return 'just now'
  return `${span(s)} ago`
}

export function span(s: number): string {
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min`
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`
  return `${Math.floor(s / 86400)} d`
}

// shortTask is the part of a task's id by which people tell tasks of one service apart.
export function shortTask(id: string): string {
  const m = /instance-([0-9a-f]{8})[0-9a-f-]*\._app\.(\d+)$/.exec(id)
  return m ? `${m[1]}.${m[2]}` : id
}

export function exitText(e: { code: number; signal?: number; oom?: boolean; unknown?: boolean } | undefined): string {
  if (!e) return ''
  if (e.unknown) return 'exit not known'
  if (e.oom) return 'out of memory'
  return e.signal ? `signal ${e.signal}` : `exit ${e.code}`
}

const spelled: Record<string, string> = { cpu: 'CPU', cpus: 'CPUs', gpus: 'GPUs', mem: 'memory', id: 'ID', url: 'URL', uri: 'URI', tls: 'TLS', ip: 'IP', dns: 'DNS', env: 'environment' }

// label makes a sentence of the name of an option: fixed_port -> Fixed port.
export function label(name: string): string {
  const words = name.replaceAll(/[_-]+/g, ' ').replaceAll(/([a-z])([A-Z])/g, '$1 $2').toLowerCase()
    .split(' ').map(w => spelled[w] ?? w).join(' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}

// humane puts times in a server's sentence into the reader's own clock.
export function humane(text: string): string {
  return text.replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, t => new Date(t).toLocaleTimeString([], { hour12: false }))
}

// ports counts what is in ranges such as [31000-31002,31005].
export function ports(ranges: string | undefined): number {
  let n = 0
  for (const [, from, to] of (ranges ?? '').matchAll(/(\d+)(?:-(\d+))?/g)) n += to ? Number(to) - Number(from) + 1 : 1
  return n
}
