import { defineConfig } from 'vite'
import react from '@vitejs/plugin-react'

// `DCOS_URL=http://127.0.0.1:8443 npm run dev` shows the sources live against a running cluster.
const cluster = process.env.DCOS_URL ?? 'http://127.0.0.1:8443'
const paths = ['/dcos/', '/acs/', '/package/', '/service/', '/system/']

export default defineConfig({
  plugins: [react()],
  server: { proxy: Object.fromEntries(paths.map(p => [p, { target: cluster, changeOrigin: false, secure: false }])) },
  build: {
    target: 'es2023',
    cssTarget: 'chrome123', // light-dark() stays as it is written
    outDir: 'node_modules/.build', // scripts/pack.mjs makes dist of it
    emptyOutDir: true,
    sourcemap: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 600,
  },
})
