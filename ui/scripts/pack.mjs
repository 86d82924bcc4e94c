// Packs the built page into dist/: every file as FILE.gz, manifest.json, and SOURCE_HASH, by which
// a Go test sees without node that dist was made from these sources. The same sources give the
// same bytes on every machine.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const built = join(root, 'node_modules', '.build')
const dist = join(root, 'dist')

const types = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml', woff2: 'font/woff2', json: 'application/json' }
const sha = bytes => createHash('sha256').update(bytes).digest('hex')
const slashed = name => name.replaceAll('\\', '/')
const byName = (a, b) => (a < b ? -1 : a > b ? 1 : 0)

function walk(dir) {
  return readdirSync(dir, { withFileTypes: true }).flatMap(e => (e.isDirectory() ? walk(join(dir, e.name)) : [join(dir, e.name)]))
}

// The sources: what the build reads. ui_test.go computes the same.
function sourceHash() {
  const fixed = ['index.html', 'package.json', 'package-lock.json', 'tsconfig.json', 'vite.config.ts', 'scripts/pack.mjs']
  const src = walk(join(root, 'src')).map(f => slashed(relative(root, f))).filter(f => !/\.test\.tsx?$/.test(f))
  const lines = [...fixed, ...src].sort(byName).map(f => `${sha(readFileSync(join(root, f)))}  ${f}\n`)
  return sha(lines.join(''))
}

rmSync(dist, { recursive: true, force: true })
mkdirSync(dist)
const files = {}
for (const file of walk(built).sort(byName)) {
  const name = slashed(relative(built, file))
  const raw = readFileSync(file)
  const packed = execFileSync('gzip', ['-9n'], { input: raw, maxBuffer: 1 << 26 })
  mkdirSync(dirname(join(dist, name)), { recursive: true })
  writeFileSync(join(dist, `${name}.gz`), packed)
  const type = types[name.split('.').pop()]
  if (!type) throw new Error(`${name}: no media type is known for it`)
  files[name] = { type, size: statSync(file).size, packed: packed.length, sha256: sha(raw) }
}
writeFileSync(join(dist, 'manifest.json'), `${JSON.stringify({ files }, null, 1)}\n`)
writeFileSync(join(dist, 'SOURCE_HASH'), `${sourceHash()}\n`)
const total = Object.values(files).reduce((n, f) => n + f.packed, 0)
console.log(`dist: ${Object.keys(files).length} files, ${(total / 1000).toFixed(1)} kB packed`)
