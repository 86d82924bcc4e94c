import { beforeEach, expect, test } from 'vitest'
import type { Frame } from '../api/types'
import { Stream, type Answer, type Source, type Status } from './stream'

class FakeSource implements Source {
  readyState = 0
  onopen: (() => void) | null = null
  onerror: (() => void) | null = null
  onmessage: ((e: { data: string; lastEventId: string }) => void) | null = null
  closed = false
  constructor(readonly url: string) {}
  close() { this.closed = true; this.readyState = 2 }
  send(f: Partial<Frame>, id = '') { this.onmessage?.({ data: JSON.stringify(f), lastEventId: id }) }
  fail(state: number) { this.readyState = state; this.onerror?.() }
}

let sources: FakeSource[], frames: Frame[], phases: string[], timers: { at: number; f: () => void }[], answer: Answer, now: number, out: number
let stream: Stream

function pass(ms: number) {
  now += ms
  for (const t of timers.filter(x => x.at <= now)) {
    timers = timers.filter(x => x !== t)
    t.f()
  }
}
const settle = () => new Promise(r => { setTimeout(r) })
const last = () => sources.at(-1)!

beforeEach(() => {
  sources = []; frames = []; phases = []; timers = []; now = 0; out = 0
  answer = { status: 200, detail: '' }
  stream = new Stream({
    open: url => { const s = new FakeSource(url); sources.push(s); return s },
    probe: () => Promise.resolve(answer),
    now: () => now,
    later: (f, ms) => { const t = { at: now + ms, f }; timers.push(t); return () => { timers = timers.filter(x => x !== t) } },
  }, { frame: f => frames.push(f), status: (s: Status) => phases.push(s.phase), signedOut: () => { out++ } })
  stream.start()
})

test('one connection asks for every topic and goes live when it opens', () => {
  expect(sources).toHaveLength(1)
  expect(last().url).toBe('/dcos/v1/stream?topics=cluster,nodes,services,tasks,packages,deployments')
  last().onopen?.()
  expect(phases.at(-1)).toBe('live')
})

test('while the browser reconnects by itself no second connection is made', () => {
  last().onopen?.()
  last().fail(0)
  expect(phases.at(-1)).toBe('reconnecting')
  pass(10_000)
  expect(sources).toHaveLength(1)
  last().onopen?.()
  expect(phases.at(-1)).toBe('live')
})

test('a connection that the browser gave up is made anew from the last id', async () => {
  last().onopen?.()
  last().send({ topic: 'nodes', op: 'snapshot', data: [] })
  last().send({ op: 'ping' }, '41')
  last().fail(2)
  await settle()
  pass(500)
  expect(sources).toHaveLength(2)
  expect(last().url).toMatch(/&since=41$/)
})

test('a snapshot that was cut off is asked for again as a whole', async () => {
  last().onopen?.()
  last().send({ topic: 'nodes', op: 'snapshot', data: [] })
  last().fail(2)
  await settle()
  pass(500)
  expect(last().url).not.toContain('since')
})

test('tries grow further apart and end at fifteen seconds', async () => {
  answer = { status: 503, detail: 'no leader' }
  const waits: number[] = []
  for (let i = 0; i < 8; i++) {
    last().fail(2)
    await settle()
    waits.push(timers.at(-1)!.at - now)
    pass(timers.at(-1)!.at - now)
  }
  expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 15000, 15000, 15000])
  expect(stream.status.problem).toBe('no leader')
})

test('an answer of 401 ends the session and nothing is tried again', async () => {
  answer = { status: 401, detail: 'log in' }
  last().fail(2)
  await settle()
  expect(out).toBe(1)
  pass(60_000)
  expect(sources).toHaveLength(1)
})

test('a missing permission is said, not hidden', async () => {
  answer = { status: 403, detail: 'bo has no grant for read /nodes' }
  last().fail(2)
  await settle()
  expect(stream.status).toMatchObject({ phase: 'denied', problem: 'bo has no grant for read /nodes' })
})

test('a silent connection is replaced after forty seconds', () => {
  last().onopen?.()
  pass(30_000)
  last().send({ op: 'ping' }, '7')
  pass(30_000)
  expect(sources).toHaveLength(1)
  pass(10_000)
  expect(sources).toHaveLength(2)
  expect(sources[0]!.closed).toBe(true)
  expect(last().url).toMatch(/since=7$/)
})

test('a frame that is no JSON is passed over', () => {
  last().onopen?.()
  last().onmessage?.({ data: '{', lastEventId: '9' })
  last().send({ op: 'ping' }, '10')
  expect(frames).toHaveLength(1)
})

test('after stop nothing is opened', async () => {
  last().fail(2)
  stream.stop()
  await settle()
  pass(60_000)
  expect(sources).toHaveLength(1)
})

test('waking up tries at once', async () => {
  answer = { status: 0, detail: '' }
  last().fail(2)
  await settle()
  stream.wake()
  expect(sources).toHaveLength(2)
  last().onopen?.()
  stream.wake()
  expect(sources).toHaveLength(2)
})
