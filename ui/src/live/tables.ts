// Tables holds the cluster as the stream tells it: one map of rows per topic. It is plain data in,
// plain data out, so that resuming, resets and large snapshots can be tested without a network.
import { topics, type Frame, type Rows, type Topic } from '../api/types'

export type Table<T extends Topic> = ReadonlyMap<string, Rows[T]>

const keyOf: { [T in Topic]: (row: Rows[T]) => string } = {
  cluster: () => 'cluster', nodes: r => r.id, services: r => r.id, tasks: r => r.id, packages: r => r.app, deployments: r => r.id,
}

export class Tables {
  private maps = new Map<Topic, Map<string, unknown>>(topics.map(t => [t, new Map()]))
  private arrays = new Map<Topic, readonly unknown[]>()
  private began = new Set<Topic>()

  // complete says that every topic was received once.
  get complete(): boolean { return this.began.size === topics.length }

  // apply takes one frame and returns the topic that it changed. What it does not know it passes
  // over: a newer master may say more.
  apply(f: Frame): Topic | undefined {
    const topic = topics.find(t => t === f.topic)
    if (!topic) return undefined // ping; and reset, after which snapshots replace every table
    const map = this.maps.get(topic)!
    switch (f.op) {
      case 'snapshot':
        map.clear()
        this.began.add(topic)
        this.addAll(topic, map, f.data)
        break
      case 'append':
        this.addAll(topic, map, f.data)
        break
      case 'upsert':
        if (!f.key || !f.data) return undefined
        map.set(f.key, f.data)
        break
      case 'delete':
        if (!f.key || !map.delete(f.key)) return undefined
        break
      default:
        return undefined
    }
    this.arrays.delete(topic)
    return topic
  }

  private addAll<T extends Topic>(topic: T, map: Map<string, unknown>, data: unknown) {
    if (!Array.isArray(data)) return
    for (const row of data as Rows[T][]) map.set(keyOf[topic](row), row)
  }

  // rows are a topic's rows; the same array until one of them changes.
  rows<T extends Topic>(topic: T): readonly Rows[T][] {
    let rows = this.arrays.get(topic)
    if (!rows) this.arrays.set(topic, rows = [...this.maps.get(topic)!.values()])
    return rows as readonly Rows[T][]
  }

  clear() {
    for (const m of this.maps.values()) m.clear()
    this.arrays.clear()
    this.began.clear()
  }
}
