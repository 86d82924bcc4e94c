// The theme follows the system until somebody chooses.
import { useState } from 'react'

const themes = ['system', 'light', 'dark'] as const
export type Theme = (typeof themes)[number]
const key = 'dcos.theme'

function stored(): Theme {
  try { return themes.find(t => t === localStorage.getItem(key)) ?? 'system' } catch { return 'system' }
}

export function applyTheme(theme: Theme = stored()) {
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}

export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState(stored)
  return [theme, () => {
    const next = themes[(themes.indexOf(theme) + 1) % themes.length]!
    try { localStorage.setItem(key, next) } catch { /* a private window: it lasts as long as the page */ }
    applyTheme(next)
    setTheme(next)
  }]
}
