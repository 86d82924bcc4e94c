import { expect, test } from 'vitest'
import { cli, quote } from './api/calls'
import type { Cluster, Service } from './api/types'
import { keepOrder, sorted } from './design/order'
import { ago, cpus, label, mib, ports, shortTask } from './format'
import { attention, broken, verdict } from './routes/verdict'
import { oneTimeToken } from './session'

const service = (over: Partial<Service>): Service => ({ id: '/web', state: 'running', instances: 1, running: 1, waiting: 0, version: '', need: { cpus: 1, mem: 1, disk: 0, gpus: 0 }, ...over })
const cluster = (over: Partial<Cluster>): Cluster => ({ id: 'c', name: 'c', version: '', featureLevel: 1, index: 1, term: 1, leader: 'x', masters: [], nodes: { active: 1 }, tasks: {}, apps: 0, total: service({}).need, allocated: service({}).need, problems: [], ...over })

test('the token of a login link is read from behind the hash only', () => {
  expect(oneTimeToken('#/login?token=a%2Bb.c')).toBe('a+b.c')
  expect(oneTimeToken('#/services?token=x')).toBe('')
  expect(oneTimeToken('')).toBe('')
})

test('rows keep their place while held, new ones come last, gone ones go', () => {
  expect(keepOrder(['c', 'a', 'd'], x => x, ['a', 'b', 'c'])).toEqual(['a', 'c', 'd'])
})

test('sorting is stable by key in both directions', () => {
  const rows = [{ k: 'b', v: 1 }, { k: 'a', v: 1 }, { k: 'c', v: 0 }]
  expect(sorted(rows, r => r.v, false, r => r.k).map(r => r.k)).toEqual(['c', 'a', 'b'])
  expect(sorted(rows, r => r.v, true, r => r.k).map(r => r.k)).toEqual(['a', 'b', 'c'])
})

test('the verdict counts what needs a person, worst first', () => {
  const services = [service({ id: '/slow', state: 'degraded', instances: 2 }), service({ id: '/big', state: 'waiting', running: 0 }), service({})]
  const rows = attention([], services)
  expect(rows.map(r => r.sel)).toEqual(['/big', '/slow'])
  expect(verdict(cluster({}), 3, rows.length)).toBe('All good, except 2 things.')
  expect(verdict(cluster({ leader: '' }), 3, 0)).toMatch(/^No master leads/)
  expect(verdict(cluster({ nodes: {} }), 0, 0)).toBe('No machine is connected yet.')
  expect(verdict(cluster({}), 0, 0)).toBe('Ready. Nothing is installed yet.')
})

test('problems that are named row by row are not counted twice', () => {
  expect(broken(cluster({ problems: ['lost: 2 nodes', 'waiting for a place: 1 instance; see `dcos why APP`', 'master m2 (x) does not answer'] }))).toEqual(['master m2 (x) does not answer'])
})

test('commands are safe to paste', () => {
  expect(quote("it's")).toBe(`'it'\\''s'`)
  expect(quote('/prod/web')).toBe('/prod/web')
  expect(cli.install('redis', {})).toBe('dcos package install redis --yes')
  expect(cli.install('redis', { a: '$(x)' })).toContain(`'{"a":"$(x)"}'`)
})

test('numbers read as people say them', () => {
  expect([cpus(0.1), cpus(2), cpus(10), cpus(1.25), mib(0), mib(60), mib(1536), mib(3 << 20)]).toEqual(['0.1', '2', '10', '1.25', '0 MiB', '60 MiB', '1.5 GiB', '3 TiB'])
  expect([ports('[31000-31002,31005]'), ports('')]).toEqual([4, 0])
  expect([ago(500), ago(59_000), ago(3_600_000)]).toEqual(['just now', '59 s ago', '1 h ago'])
  expect(shortTask('prod_db.instance-8dfc30b2-11af-8fbb-95b5-be2767642970._app.3')).toBe('8dfc30b2.3')
  expect(label('fixed_port')).toBe('Fixed port')
})
