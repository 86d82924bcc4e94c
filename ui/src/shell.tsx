import { useEffect, useMemo, useRef, useState } from 'react'
import { useQuery } from '@tanstack/react-query'
import { Link, Outlet, useRouterState } from '@tanstack/react-router'
import * as calls from './api/calls'
import { Lasting } from './design/ago'
import { Toasts } from './design/feedback'
import { Icon, Logo } from './design/icons'
import { Glyph } from './design/state'
import { WordsContext, wordsOf, type Words } from './design/words'
import { useCluster, useStatus, useTopic } from './live/live'
import { signOut, useSession } from './session'
import { useTheme } from './theme'

const none: Words = new Map()

export function Shell() {
  const words = useQuery({ queryKey: ['words'], queryFn: async () => wordsOf(await calls.words()), staleTime: Infinity, retry: 3 })
  const path = useRouterState({ select: s => s.location.pathname })
  const main = useRef<HTMLElement>(null)
  const before = useRef(path)
  useEffect(() => { // a new screen is announced and read from its beginning
    if (before.current === path) return
    before.current = path
    main.current?.focus({ preventScroll: true })
  }, [path])
  const title = { '/': 'Overview', '/nodes': 'Nodes', '/services': 'Services', '/tasks': 'Tasks', '/catalog': 'Catalog' }[path]
  const name = useCluster()?.name
  useEffect(() => { document.title = [title, name, 'dcos'].filter(Boolean).join(' · ') }, [title, name])
  return (
    <WordsContext.Provider value={words.data ?? none}>
      <a className="skip" href="#main" onClick={e => { e.preventDefault(); main.current?.focus() }}>Skip to the content</a>
      <div className="shell">
        <Side />
        <Top />
        <main id="main" ref={main} tabIndex={-1}><Reconnecting /><Outlet /></main>
      </div>
      <Toasts />
    </WordsContext.Provider>
  )
}

function Side() {
  const nodes = useTopic('nodes').length
  const services = useTopic('services').length
  const cluster = useCluster()
  const tasks = useTopic('tasks')
  const running = useMemo(() => tasks.reduce((n, t) => n + (t.state === 'running' ? 1 : 0), 0), [tasks])
  return (
    <nav className="side" aria-label="Main">
      <Link to="/" className="brand" aria-label="dcos, overview"><Logo /><span>dcos</span></Link>
      <Item to="/" icon="overview" text="Overview" />
      <Item to="/services" icon="services" text="Services" n={services} />
      <Item to="/tasks" icon="tasks" text="Tasks" n={running} />
      <Item to="/nodes" icon="nodes" text="Nodes" n={nodes} />
      <Item to="/catalog" icon="catalog" text="Catalog" />
      {cluster && <p className="version">{cluster.version}</p>}
    </nav>
  )
}

function Item({ to, icon, text, n }: { to: '/' | '/services' | '/tasks' | '/nodes' | '/catalog'; icon: Parameters<typeof Icon>[0]['name']; text: string; n?: number }) {
  return (
    <Link to={to} activeOptions={{ exact: true, includeSearch: false }} className="item">
      <Icon name={icon} /><span>{text}</span>{n ? <span className="badge">{n.toLocaleString('en')}</span> : null}
    </Link>
  )
}

function Top() {
  const cluster = useCluster()
  const session = useSession()
  const [theme, nextTheme] = useTheme()
  const user = session.state === 'in' ? session.user.id : ''
  return (
    <header className="top">
      <span className="cluster-name">{cluster?.name}</span>
      <LiveMark />
      <span className="grow" />
      <button type="button" className="plain" onClick={nextTheme} aria-label={`Theme: ${theme}. Change it`} title={`Theme: ${theme}`}>
        <Icon name={theme === 'light' ? 'sun' : theme === 'dark' ? 'moon' : 'auto'} />
      </button>
      <span className="who" title="Logged in as">{user}</span>
      <button type="button" className="plain" onClick={() => void signOut()}>Log out</button>
    </header>
  )
}

function LiveMark() {
  const { phase } = useStatus()
  const [severity, text] = phase === 'live' ? ['ok', 'live'] as const
    : phase === 'denied' ? ['bad', 'no permission'] as const
    : ['working', phase] as const
  return <span className={`live state ${severity}`} role="status" data-phase={phase}><Glyph severity={severity} />{text}</span>
}

// Reconnecting says that what is shown grows old, once that is no blink any more.
function Reconnecting() {
  const { phase, since, problem } = useStatus()
  const [late, setLate] = useState(false)
  const bad = phase !== 'live'
  useEffect(() => {
    if (!bad) return
    const t = setTimeout(() => setLate(true), 2500)
    return () => { clearTimeout(t); setLate(false) }
  }, [bad])
  if (!bad || !late) return null
  return (
    <div className="strip" role="alert">
      <Glyph severity={phase === 'denied' ? 'bad' : 'warn'} />
      <span>
        {phase === 'denied' ? problem
          : <>No connection to the cluster for <Lasting from={since} />: what you see is from before. {problem} It is tried again by itself.</>}
      </span>
    </div>
  )
}
