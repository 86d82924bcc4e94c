// What the three live lists share: their head with a filter, and what is in the address.
import { useCallback, useId, type ReactNode } from 'react'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { Icon } from '../design/icons'
import type { Search } from '../router'

export type Screen = '/nodes' | '/services' | '/tasks' | '/catalog'

export function useAddress(from: Screen): [Search, (next: Search) => void] {
  const search = useSearch({ from })
  const navigate = useNavigate()
  return [search, useCallback((next: Search) => {
    void navigate({ to: from, search: old => clean({ ...old, ...next }), replace: 'q' in next })
  }, [navigate, from])]
}

function clean(s: Search): Search {
  return Object.fromEntries(Object.entries(s).filter(([, v]) => v !== undefined && v !== ''))
}

// matches says whether every word of a filter is somewhere in the texts of a row.
export function matches(filter: string, ...texts: (string | undefined)[]): boolean {
  const all = texts.join('\n').toLowerCase()
  return filter.toLowerCase().split(/\s+/).every(w => all.includes(w))
}

export function ListHead({ title, filter, setFilter, shown, total, children }: { title: string; filter: string; setFilter: (q: string) => void; shown: number; total: number; children?: ReactNode }) {
  const id = useId()
  return (
    <div className="list-head">
      <h1>{title}</h1>
      <span className="muted list-count">{shown === total ? total.toLocaleString('en') : `${shown.toLocaleString('en')} of ${total.toLocaleString('en')}`}</span>
      <span className="grow" />
      {children}
      <span className="filter"><Icon name="search" /><label htmlFor={id} className="hidden">Filter {title.toLowerCase()}</label>
        <input id={id} type="search" placeholder="Filter" value={filter} onChange={e => setFilter(e.target.value)} spellCheck={false} autoComplete="off" /></span>
    </div>
  )
}

export function NoMatch({ total, what, clear }: { total: number; what: string; clear: () => void }) {
  return <div className="empty"><h2>0 of {total.toLocaleString('en')} {what} match</h2><p><button type="button" onClick={clear}>Clear the filter</button></p></div>
}
