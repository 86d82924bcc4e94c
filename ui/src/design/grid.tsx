import { useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode, type RefObject } from 'react'
import { useVirtualizer } from '@tanstack/react-virtual'
import { keepOrder, sorted, type SortValue } from './order'

export interface Column<T> {
  key: string
  title: string
  width: string // of a CSS grid
  cell: (row: T) => ReactNode
  sort: (row: T) => SortValue
  number?: boolean
  wide?: boolean // left out where there is little room
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

// Grid is a live table: only the rows in sight exist, rows change in place, and while the pointer is
// over it no row changes its place.
export function Grid<T>({ label, rows, columns: every, keyOf, nameOf, first, selected, open, empty }: Props<T>) {
  const [holder, roomy] = useRoom()
  const columns = useMemo(() => (roomy ? every : every.filter(c => !c.wide)), [every, roomy])
  const [sort, setSort] = useState({ key: first.key, down: first.down ?? false })
  const [held, setHeld] = useState<readonly string[] | null>(null)
  const by = columns.find(c => c.key === sort.key) ?? columns[0]!
  const fresh = useMemo(() => sorted(rows, by.sort, sort.down, keyOf), [rows, by, sort.down, keyOf])
  const shown = useMemo(() => (held ? keepOrder(fresh, keyOf, held) : fresh), [fresh, held, keyOf])
  const body = useRef<HTMLDivElement>(null)
  // eslint-disable-next-line react-hooks/incompatible-library -- the virtualizer is read during render on purpose
  const virtual = useVirtualizer({ count: shown.length, getScrollElement: () => body.current, estimateSize: () => rowHeight, overscan: 10, scrollMargin: 0 })
  const template = columns.map(c => c.width).join(' ')
  useEffect(() => { holder.current?.style.setProperty('--columns', template) }, [template, holder])

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

const roomFrom = 760 // px: what is left out below is in the details

// useRoom says whether there is room for every column.
function useRoom(): [RefObject<HTMLDivElement | null>, boolean] {
  const ref = useRef<HTMLDivElement>(null)
  const [roomy, setRoomy] = useState(true)
  useLayoutEffect(() => {
    const el = ref.current
    if (!el) return
    const look = () => setRoomy(el.clientWidth === 0 || el.clientWidth >= roomFrom)
    const watch = new ResizeObserver(look)
    watch.observe(el)
    look()
    return () => watch.disconnect()
  }, [])
  return [ref, roomy]
}

function cell<T>(c: Column<T>): string { return `cell${c.number ? ' number' : ''}${c.wide ? ' wide' : ''}` }
