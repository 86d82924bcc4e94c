// The first thing that the page says: how it goes, in one sentence, and what needs a person.
import type { Cluster, Node, Service, Severity } from '../api/types'
import { count } from '../format'

export interface Attention { severity: Severity; text: string; detail: string; to: '/nodes' | '/services'; sel: string; act: string }

export function attention(nodes: readonly Node[], services: readonly Service[]): Attention[] {
  const out: Attention[] = []
  for (const n of nodes) {
    if (n.state === 'active') continue
    const lost = n.state === 'lost'
    out.push({ severity: lost ? 'bad' : 'warn', text: `${n.hostname || n.id} is ${n.state}`, detail: n.why ?? '', to: '/nodes', sel: n.id, act: 'Open' })
  }
  for (const s of services) {
    if (s.state !== 'waiting' && s.state !== 'degraded') continue
    out.push({
      severity: s.running === 0 ? 'bad' : 'warn', text: `${s.id}: ${s.running} of ${count(s.instances, 'instance')} running`,
      detail: s.why ?? '', to: '/services', sel: s.id, act: 'Why',
    })
  }
  return out.sort((a, b) => (a.severity === b.severity ? a.text.localeCompare(b.text) : a.severity === 'bad' ? -1 : 1))
}

// broken are the cluster's own problems; what waits or is lost is named row by row beside them.
export function broken(c: Cluster): string[] {
  return c.problems.filter(p => !/\b\d+ (nodes?|instances?)\b/.test(p))
}

export function verdict(c: Cluster, services: number, things: number): string {
  if (!c.leader) return 'No master leads: what runs keeps running, changes have to wait.'
  if (!c.nodes.active) return 'No machine is connected yet.'
  if (things > 0) return `All good, except ${things === 1 ? 'one thing' : `${things} things`}.`
  return services === 0 ? 'Ready. Nothing is installed yet.' : 'All good.'
}
