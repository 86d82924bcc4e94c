import { useId, useState, type FormEvent } from 'react'
import { asError, type ApiError } from '../api/http'
import { Logo } from '../design/icons'
import { signIn } from '../session'

export function Login({ problem }: { problem?: ApiError | undefined }) {
  const user = useId(), pass = useId()
  const [uid, setUid] = useState('')
  const [password, setPassword] = useState('')
  const [busy, setBusy] = useState(false)
  const [tried, setFailed] = useState<ApiError>()
  const failed = tried ?? problem
  const submit = async (e: FormEvent) => {
    e.preventDefault()
    setBusy(true)
    try {
      await signIn(uid, password)
    } catch (err) {
      setFailed(asError(err))
      setPassword('')
    } finally {
      setBusy(false)
    }
  }
  return (
    <main className="login">
      <form className="card" onSubmit={e => void submit(e)}>
        <div className="login-head"><Logo /><h1>Log in to the cluster</h1></div>
        {failed && <div className="problem" role="alert"><strong>Not logged in</strong><span>{failed.detail}</span></div>}
        <div className="field"><label htmlFor={user}>User</label><input id={user} name="username" autoComplete="username" required value={uid} onChange={e => setUid(e.target.value)} spellCheck={false} autoCapitalize="none" /></div>
        <div className="field"><label htmlFor={pass}>Password</label><input id={pass} name="password" type="password" autoComplete="current-password" required value={password} onChange={e => setPassword(e.target.value)} /></div>
        <button type="submit" className="primary" disabled={busy}>{busy ? 'Logging in…' : 'Log in'}</button>
        <p className="muted small">No password at hand? <code>dcos dev</code> prints a link that logs you in once; an administrator can set your password.</p>
      </form>
    </main>
  )
}
