// Stream keeps one connection to /dcos/v1/stream and says how it goes. It resumes where it left off:
// by itself while the browser reconnects, with ?since= when a connection has to be made anew.
import { topics, type Frame } from '../api/types'

export type Phase = 'connecting' | 'live' | 'reconnecting' | 'denied'
export interface Status { phase: Phase; since: number; problem: string }

export interface Source {
  readyState: number
  onopen: (() => void) | null
  onerror: (() => void) | null
  onmessage: ((e: { data: string; lastEventId: string }) => void) | null
  close(): void
}

// Answer is what a plain request for the stream is told: the browser hides it from EventSource.
export interface Answer { status: number; detail: string }

export interface Deps {
  open: (url: string) => Source
  probe: (url: string) => Promise<Answer>
  now: () => number
  later: (f: () => void, ms: number) => () => void
}

const closed = 2
const quietLimit = 40_000 // the server says something every 15 s
const longestWait = 15_000

export class Stream {
  private source: Source | null = null
  private lastId = ''
  private tries = 0
  private stopped = true
  private cancel: (() => void)[] = []
  private cancelWatch = () => {}
  status: Status

  constructor(private deps: Deps, private on: { frame: (f: Frame) => void; status: (s: Status) => void; signedOut: () => void }) {
    this.status = { phase: 'connecting', since: deps.now(), problem: '' }
  }

  start() {
    if (!this.stopped) return
    this.stopped = false
    this.lastId = ''
    this.tries = 0
    this.set('connecting')
    this.open()
  }

  stop() {
    this.stopped = true
    this.drop()
  }

  // wake tries at once what would be tried later.
  wake() {
    if (this.stopped || this.status.phase === 'live') return
    this.open()
  }

  private get url(): string {
    return `/dcos/v1/stream?topics=${topics.join(',')}${this.lastId ? `&since=${encodeURIComponent(this.lastId)}` : ''}`
  }

  private drop() {
    for (const c of this.cancel) c()
    this.cancel = []
    this.cancelWatch()
    if (this.source) {
      this.source.onopen = this.source.onerror = this.source.onmessage = null
      this.source.close()
      this.source = null
    }
  }

  private open() {
    this.drop()
    const s = (this.source = this.deps.open(this.url))
    s.onopen = () => { this.tries = 0; this.set('live'); this.watch() }
    s.onmessage = e => {
      this.watch()
      if (this.status.phase !== 'live') this.set('live')
      let f: Frame
      try { f = JSON.parse(e.data) as Frame } catch { return }
      this.on.frame(f)
      if (e.lastEventId) this.lastId = e.lastEventId // after the frame: what was not taken in is asked for again
    }
    s.onerror = () => {
      this.cancelWatch()
      this.set('reconnecting')
      if (s.readyState === closed) void this.ask()
      else this.watch()
    }
    this.watch()
  }

  // ask finds out why the browser gave the connection up.
  private async ask() {
    this.drop()
    let answer: Answer
    try { answer = await this.deps.probe(this.url) } catch { answer = { status: 0, detail: 'The cluster does not answer.' } }
    if (this.stopped || this.source) return
    if (answer.status === 401) return this.on.signedOut()
    this.set(answer.status === 403 ? 'denied' : 'reconnecting', answer.status === 200 ? '' : answer.detail)
    this.again()
  }

  private again() {
    const wait = Math.min(longestWait, 500 * 2 ** this.tries++)
    this.cancel.push(this.deps.later(() => this.open(), wait))
  }

  // watch makes the connection anew when nothing came for too long: a dead network says nothing.
  private watch() {
    this.cancelWatch()
    this.cancelWatch = this.deps.later(() => { this.set('reconnecting'); this.open() }, quietLimit)
  }

  private set(phase: Phase, problem = '') {
    if (this.status.phase === phase && this.status.problem === problem) return
    const since = this.status.phase === phase ? this.status.since : this.deps.now()
    this.status = { phase, since, problem }
    this.on.status(this.status)
  }
}
