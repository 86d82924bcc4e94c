import { useEffect, useState } from 'react'
import { RouterProvider } from '@tanstack/react-router'
import { router } from './router'
import { Login } from './routes/login'
import { useSession } from './session'

export function App() {
  const session = useSession()
  if (session.state === 'in') return <RouterProvider router={router} />
  if (session.state === 'out') return <Login problem={session.problem} />
  return <Waiting />
}

// Waiting shows nothing for as long as nobody would read it.
function Waiting() {
  const [slow, setSlow] = useState(false)
  useEffect(() => { const t = setTimeout(() => setSlow(true), 400); return () => clearTimeout(t) }, [])
  return slow ? <main className="login"><h1 className="quiet">Asking the cluster who you are…</h1></main> : null
}
