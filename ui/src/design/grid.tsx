import { useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode, type RefObject } from 'react'
import { useVirtualizer } from '@tanstack/react-virtual'
import { keepOrder, sorted, type SortValue } from './order'

export interface Column<T> {
  key: string
  title: string
  width: string // of a CSS grid
  cell: (row: T) => ReactNode
  sort: (row: T) => SortValue
  number?: boolean
  room?: number // px that the table must have, or else it is left out: it is in the details too
}

interface Props<T> {
  label: string
  rows: readonly T[]
  columns: Column<T>[]
  keyOf: (row: T) => string
  nameOf: (row: T) => string // of the row's own link
  first: { key: string; down?: boolean }
  selected: string | undefined
  open: (key: string) => void
  empty: ReactNode
}

const rowHeight = 40
const gap = 16 // between cells and at both ends, as in parts.css

// leastWidth is what the columns need: below it the table scrolls.
function leastWidth<T>(columns: Column<T>[]): number {
  return columns.reduce((sum, c) => sum + gap + Number(/\d+/.exec(c.width)?.[0] ?? 0), gap)
}

// Grid is a live table: only the rows in sight exist, rows change in place, and while the pointer is
// over it no row changes its place.
export function Grid<T>({ label, rows, columns: every, keyOf, nameOf, first, selected, open, empty }: Props<T>) {
  const [holder, room] = useRoom()
  const columns = useMemo(() => every.filter(c => !c.room || c.room <= room), [every, room])
  const [sort, setSort] = useState({ key: first.key, down: first.down ?? false })
  const [held, setHeld] = useState<readonly string[] | null>(null)
  const by = columns.find(c => c.key === sort.key) ?? columns[0]!
  const fresh = useMemo(() => sorted(rows, by.sort, sort.down, keyOf), [rows, by, sort.down, keyOf])
  const shown = useMemo(() => (held ? keepOrder(fresh, keyOf, held) : fresh), [fresh, held, keyOf])
  const body = useRef<HTMLDivElement>(null)
  // eslint-disable-next-line react-hooks/incompatible-library -- the virtualizer is read during render on purpose
  const virtual = useVirtualizer({ count: shown.length, getScrollElement: () => body.current, estimateSize: () => rowHeight, overscan: 10, scrollMargin: 0 })
  const template = columns.map(c => c.width).join(' ')
  useLayoutEffect(() => {
    holder.current?.style.setProperty('--columns', template)
    holder.current?.style.setProperty('--least', `${leastWidth(columns)}px`)
  }, [template, columns, holder])

  const onSort = (key: string) => {
    setHeld(null)
    setSort(s => ({ key, down: s.key === key ? !s.down : false }))
  }
  const move = (e: KeyboardEvent<HTMLElement>, at: number) => {
    const to = e.key === 'ArrowDown' ? at + 1 : e.key === 'ArrowUp' ? at - 1 : -1
    if (to < 0 || to >= shown.length) return
    e.preventDefault()
    virtual.scrollToIndex(to)
    requestAnimationFrame(() => body.current?.querySelector<HTMLElement>(`[data-row="${to}"]`)?.focus())
  }
  if (rows.length === 0) return <div ref={holder}>{empty}</div>
  return (
    <div className="grid" ref={holder} onPointerEnter={e => { if (e.pointerType === 'mouse') setHeld(shown.map(keyOf)) }} onPointerLeave={() => setHeld(null)}>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a region that scrolls must be reachable by keyboard */}
      <div className="grid-scroll" ref={body} role="table" aria-label={label} aria-rowcount={shown.length + 1} tabIndex={0}>
        <div role="rowgroup" className="grid-head">
          <div role="row" aria-rowindex={1} className="grid-row">
            {columns.map(c => (
              <div key={c.key} role="columnheader" className={cell(c)} aria-sort={c.key === by.key ? (sort.down ? 'descending' : 'ascending') : 'none'}>
                <button type="button" onClick={() => onSort(c.key)}>{c.title}<span className="arrow" aria-hidden="true">{c.key === by.key ? (sort.down ? '↓' : '↑') : ''}</span></button>
              </div>
            ))}
          </div>
        </div>
        <div role="rowgroup" className="grid-body" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map(v => {
            const row = shown[v.index]
            if (row === undefined) return null
            const key = keyOf(row)
            return (
              <div key={key} role="row" aria-rowindex={v.index + 2} aria-current={key === selected ? 'true' : undefined} data-key={key} className="grid-row" style={{ transform: `translateY(${v.start}px)` }}>
                {columns.map((c, i) => (
                  <div key={c.key} role="cell" className={cell(c)}>
                    {i === 0 && <button type="button" className="row-open" data-row={v.index} aria-label={`Open ${nameOf(row)}`} onClick={() => open(key)} onKeyDown={e => move(e, v.index)} />}
                    {c.cell(row)}
                  </div>
                ))}
              </div>
            )
          })}
        </div>
      </div>
    </div>
  )
}

// useRoom is how many pixels wide a table is.
function useRoom(): [RefObject<HTMLDivElement | null>, number] {
  const ref = useRef<HTMLDivElement>(null)
  const [room, setRoom] = useState(Infinity)
  useLayoutEffect(() => {
    const el = ref.current
    if (!el) return
    const look = () => { if (el.clientWidth > 0) setRoom(el.clientWidth) }
    const watch = new ResizeObserver(look)
    watch.observe(el)
    look()
    return () => watch.disconnect()
  }, [])
  return [ref, room]
}

function cell<T>(c: Column<T>): string { return `cell${c.number ? ' number' : ''}` }
