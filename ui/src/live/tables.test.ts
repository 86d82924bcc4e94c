import { expect, test } from 'vitest'
import { topics, type Frame } from '../api/types'
import { add, type Log } from './log'
import { Tables } from './tables'

const frame = (op: string, topic?: string, key?: string, data?: unknown): Frame => ({ seq: 1, time: '', op, ...(topic && { topic }), ...(key && { key }), data })
const ids = (t: Tables) => t.rows('nodes').map(n => n.id)

test('a snapshot replaces, further rows are appended, rows change in place', () => {
  const t = new Tables()
  t.apply(frame('snapshot', 'nodes', '', [{ id: 'a' }, { id: 'b' }]))
  t.apply(frame('append', 'nodes', '', [{ id: 'c' }]))
  t.apply(frame('upsert', 'nodes', 'b', { id: 'b', state: 'lost' }))
  expect(ids(t)).toEqual(['a', 'b', 'c'])
  expect(t.rows('nodes')[1]!.state).toBe('lost')
  t.apply(frame('delete', 'nodes', 'a'))
  t.apply(frame('snapshot', 'nodes', '', [{ id: 'z' }]))
  expect(ids(t)).toEqual(['z'])
})

test('a reset keeps what is shown until the new snapshot is there', () => {
  const t = new Tables()
  t.apply(frame('snapshot', 'nodes', '', [{ id: 'a' }]))
  t.apply(frame('reset'))
  expect(ids(t)).toEqual(['a'])
  t.apply(frame('snapshot', 'nodes', '', []))
  expect(ids(t)).toEqual([])
})

test('changes that come twice after a resume change nothing', () => {
  const t = new Tables()
  t.apply(frame('upsert', 'services', '/web', { id: '/web', running: 2 }))
  t.apply(frame('upsert', 'services', '/web', { id: '/web', running: 2 }))
  t.apply(frame('delete', 'services', '/gone'))
  expect(t.rows('services')).toHaveLength(1)
})

test('rows are the same array until something changes', () => {
  const t = new Tables()
  t.apply(frame('snapshot', 'nodes', '', [{ id: 'a' }]))
  const before = t.rows('nodes')
  t.apply(frame('upsert', 'tasks', 'x', { id: 'x' }))
  expect(t.rows('nodes')).toBe(before)
  t.apply(frame('upsert', 'nodes', 'a', { id: 'a' }))
  expect(t.rows('nodes')).not.toBe(before)
})

test('what a newer master says is passed over', () => {
  const t = new Tables()
  expect(t.apply(frame('snapshot', 'secrets', '', []))).toBeUndefined()
  expect(t.apply(frame('patch', 'nodes', 'a', {}))).toBeUndefined()
  expect(t.apply(frame('snapshot', 'nodes', '', 'no list'))).toBe('nodes')
  expect(ids(t)).toEqual([])
})

test('it is complete when every topic was received once', () => {
  const t = new Tables()
  for (const topic of topics) {
    expect(t.complete).toBe(false)
    t.apply(frame('snapshot', topic, '', []))
  }
  expect(t.complete).toBe(true)
  t.clear()
  expect(t.complete).toBe(false)
})

test('a log takes each line once, in order, and lets go of the oldest', () => {
  const empty: Log = { lines: [], state: 'following', problem: '', cut: false }
  let log = add(empty, [{ offset: 0, text: 'a' }, { offset: 2, text: 'b' }])
  log = add(log, [{ offset: 2, text: 'b' }, { offset: 4, text: 'c' }])
  expect(log.lines.map(l => l.text)).toEqual(['a', 'b', 'c'])
  expect(add(log, [{ offset: 0, text: 'a' }])).toBe(log)
  log = add(log, Array.from({ length: 6000 }, (_, i) => ({ offset: 10 + i, text: String(i) })))
  expect(log.lines).toHaveLength(5000)
  expect(log.cut).toBe(true)
})
