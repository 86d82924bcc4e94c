import { useId, useState } from 'react'

// copy works without a secure context too: on plain HTTP browsers hide the clipboard.
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch { return false }
}

// Cli shows the command that does the same, ready to be copied.
export function Cli({ command }: { command: string }) {
  const id = useId()
  const [done, setDone] = useState('')
  const onCopy = async () => {
    setDone(await copy(command) ? 'Copied' : 'Select and copy')
    setTimeout(() => setDone(''), 2000)
  }
  return (
    <div className="cli">
      <code id={id}>{command}</code>
      <button type="button" className="plain" onClick={() => void onCopy()} aria-describedby={id}>{done || 'Copy CLI'}</button>
    </div>
  )
}
