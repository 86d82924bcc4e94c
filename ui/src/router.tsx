// Screens live behind "#", so that the server needs no route per screen and a login link's token
// never reaches a server's log. What is selected and filtered is in the address too.
import { createHashHistory, createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router'
import { ErrorBox } from './design/feedback'
import { asError } from './api/http'
import { Nodes } from './routes/nodes'
import { Overview } from './routes/overview'
import { Services } from './routes/services'
import { Tasks } from './routes/tasks'
import { Shell } from './shell'

export interface Search { q?: string; sel?: string; show?: string }

const word = (v: unknown) => (typeof v === 'string' && v ? v : typeof v === 'number' ? String(v) : undefined)

function search(raw: Record<string, unknown>): Search {
  const out: Search = {}
  const q = word(raw.q), sel = word(raw.sel), show = word(raw.show)
  if (q) out.q = q
  if (sel) out.sel = sel
  if (show) out.show = show
  return out
}

const root = createRootRoute({
  component: Shell,
  errorComponent: ({ error }) => <main className="screen"><ErrorBox title="This screen failed" error={asError(error)} retry={() => location.reload()} /></main>,
  notFoundComponent: () => <main className="screen"><h1>No such screen</h1><p><a href="#/">Go to the overview</a></p></main>,
})

const overview = createRoute({ getParentRoute: () => root, path: '/', component: Overview })
const nodes = createRoute({ getParentRoute: () => root, path: '/nodes', component: Nodes, validateSearch: search })
const services = createRoute({ getParentRoute: () => root, path: '/services', component: Services, validateSearch: search })
const tasks = createRoute({ getParentRoute: () => root, path: '/tasks', component: Tasks, validateSearch: search })
const catalog = createRoute({ getParentRoute: () => root, path: '/catalog', component: lazyRouteComponent(() => import('./routes/catalog'), 'Catalog'), validateSearch: search })

export const router = createRouter({
  routeTree: root.addChildren([overview, nodes, services, tasks, catalog]),
  history: createHashHistory(),
  defaultPreload: 'intent',
})

declare module '@tanstack/react-router' {
  interface Register { router: typeof router }
}
