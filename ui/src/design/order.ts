// keepOrder puts rows into the order in which their keys were shown before; what is new comes last.
// It is used while the pointer is over a table: nothing moves under the cursor.
export function keepOrder<T>(rows: readonly T[], keyOf: (row: T) => string, before: readonly string[]): T[] {
  const left = new Map(rows.map(r => [keyOf(r), r]))
  const out: T[] = []
  for (const key of before) {
    const row = left.get(key)
    if (row === undefined) continue
    out.push(row)
    left.delete(key)
  }
  return [...out, ...left.values()]
}

export type SortValue = string | number

export function sorted<T>(rows: readonly T[], by: (row: T) => SortValue, down: boolean, keyOf: (row: T) => string): T[] {
  const sign = down ? -1 : 1
  return rows.map(r => ({ r, v: by(r), k: keyOf(r) })).sort((a, b) =>
    a.v < b.v ? -sign : a.v > b.v ? sign : a.k < b.k ? -1 : a.k > b.k ? 1 : 0).map(x => x.r)
}
