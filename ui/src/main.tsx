import './design/tokens.css'
import './design/base.css'
import './design/parts.css'
import './design/screens.css'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { App } from './app'
import { resume } from './session'
import { applyTheme } from './theme'

applyTheme()
void resume()

// Nothing is asked for on a timer or on focus: the stream says when something has changed.
const queries = new QueryClient({ defaultOptions: { queries: { retry: false, refetchOnWindowFocus: false, refetchOnReconnect: false } } })

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <App />
    </QueryClientProvider>
  </StrictMode>,
)
