// Drives a real Chromium through the page of a running cluster, as a user would, and checks what it
// shows against the command line. Nothing is mocked. browser_test.go runs it.
//
//   DCOS_URL     where the cluster's API and page are
//   DCOS_LOGIN   a login link that was not used yet
//   DCOS_BIN     the command line, attached to this cluster by HOME
//   SHOTS        directory for screenshots; none when empty
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const require = createRequire(new URL('../ui/package.json', import.meta.url))
const { chromium } = require('playwright-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

const cluster = process.env.DCOS_URL, bin = process.env.DCOS_BIN, shots = process.env.SHOTS
if (!cluster || !process.env.DCOS_LOGIN || !bin) throw new Error('DCOS_URL, DCOS_LOGIN and DCOS_BIN have to be given')
const patience = 60_000
const scratch = mkdtempSync(join(tmpdir(), 'dcos-browser-'))
const run = promisify(execFile)
const dcos = async (...args) => (await run(bin, args, { timeout: patience })).stdout

function must(ok, what) { if (!ok) throw new Error(what) }
async function step(name, f) {
  const start = Date.now()
  await f()
  console.log(`ok   ${name} (${Date.now() - start} ms)`)
}

// until asks again until the answer is good: for what is seen by other means than the page.
async function until(what, f) {
  const end = Date.now() + patience
  for (;;) {
    const last = await f().catch(e => e.message)
    if (last === true) return
    if (Date.now() > end) throw new Error(`${what}: ${last}`)
    await new Promise(r => setTimeout(r, 200))
  }
}

// wire stands between browser and cluster as a network does, so that it can be cut.
const wire = { sockets: new Set(), whole: true, cut() { this.whole = false; for (const x of this.sockets) x.destroy() }, mend() { this.whole = true } }
const server = net.createServer(near => {
  if (!wire.whole) return near.destroy()
  const { hostname, port } = new URL(cluster)
  const far = net.connect(Number(port), hostname)
  for (const [one, other] of [[near, far], [far, near]]) {
    wire.sockets.add(one)
    one.on('error', () => {}).on('close', () => { wire.sockets.delete(one); other.destroy() })
    one.pipe(other)
  }
})
await new Promise(r => { server.listen(0, '127.0.0.1', r) })
const base = `http://127.0.0.1:${server.address().port}`
const link = process.env.DCOS_LOGIN.replace(cluster, base)

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})

process.once('SIGINT', () => void browser.close().finally(() => process.exit(130)))

// open makes a page that writes down everything that should not happen.
async function open(...expected) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: 'light', reducedMotion: 'reduce' })
  const page = await context.newPage()
  page.setDefaultTimeout(patience)
  const seen = { errors: [], requests: [] }
  page.on('pageerror', e => seen.errors.push(`exception: ${e.message}`))
  page.on('console', m => {
    if (['error', 'warning'].includes(m.type()) && !expected.some(x => m.text().includes(x))) seen.errors.push(`console: ${m.text()} at ${m.location().url}`)
  })
  page.on('request', r => seen.requests.push(r.url()))
  page.on('websocket', w => seen.errors.push(`websocket to ${w.url()}`))
  const done = async () => {
    must(seen.errors.length === 0, `the page complained:\n${seen.errors.join('\n')}`)
    const strange = seen.requests.filter(u => !u.startsWith(`${base}/`) && !u.startsWith('data:'))
    must(strange.length === 0, `requests to other origins: ${strange.join(', ')}`)
    await context.close()
  }
  return { page, seen, expected, done }
}

// look has axe judge the screen in both themes, and takes its picture.
async function look(page, name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.evaluate(axe)
    const found = await page.evaluate(async () => (await window.axe.run()).violations.map(v => `${v.id} (${v.impact}): ${v.nodes.map(n => n.target.join(' ')).join(' | ')}`))
    if (shots) await page.screenshot({ path: join(shots, `${name}-${colorScheme}.png`) })
    must(found.length === 0, `axe on ${name}, ${colorScheme}:\n${found.join('\n')}`)
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' })
}

const row = (page, key) => page.locator(`[role=row][data-key="${key}"]`)
const nav = (page, name) => page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: new RegExp(`^${name}`) }).click()

async function whole() {
  const { page, seen, expected, done } = await open()

  await step('the login link logs in, and its token leaves the address', async () => {
    await page.goto(link)
    await page.locator('.live[data-phase=live]').waitFor()
    must(!page.url().includes('token'), `the address still holds the token: ${page.url()}`)
    must(await page.evaluate(() => document.cookie) === '', 'a script can read the cookie')
    must(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage })) === '{}', 'the page stored something at login')
    await page.evaluate(() => { window.stillTheSamePage = true })
  })

  await step('the overview says that nothing is installed yet', async () => {
    await page.getByRole('heading', { level: 1, name: 'Ready. Nothing is installed yet.' }).waitFor()
    await look(page, 'overview-empty')
  })

  await step('the list of services says what to do when it is empty', async () => {
    await nav(page, 'Services')
    await page.getByRole('heading', { name: 'No services yet' }).waitFor()
    await look(page, 'services-empty')
  })

  await step('the node is active, with the resources that the command line shows', async () => {
    const { items } = JSON.parse(await dcos('node', 'list', '--json').then(t => (t.trim().startsWith('[') ? `{"items":${t}}` : t)))
    must(items.length > 0, 'the command line shows no node')
    await nav(page, 'Nodes')
    const first = row(page, items[0].id)
    await first.getByText('active').waitFor()
    must(await page.locator('[role=row][data-key]').count() === items.length, `the page does not show ${items.length} nodes`)
    await first.getByRole('button').click()
    await page.getByRole('heading', { level: 2, name: items[0].hostname }).waitFor()
    await look(page, 'node')
  })

  await step('hello-world is installed from the catalog with an option changed', async () => {
    await nav(page, 'Catalog')
    await page.getByRole('link', { name: /hello-world/ }).waitFor()
    await look(page, 'catalog')
    await page.getByRole('link', { name: /hello-world/ }).click()
    await page.getByRole('textbox', { name: 'Message' }).fill('Hello from the browser')
    await page.getByRole('spinbutton', { name: 'Instances' }).fill('-1')
    await page.getByText('1 option to correct').waitFor()
    await look(page, 'install-wrong')
    await page.getByRole('spinbutton', { name: 'Instances' }).fill('1')
    await page.getByText(/install package hello-world .* as app \/hello-world with 1 instance/i).waitFor()
    await look(page, 'install')
    await page.getByRole('button', { name: 'Install hello-world', exact: true }).click()
    await page.getByRole('heading', { level: 2, name: '/hello-world' }).waitFor()
    await row(page, '/hello-world').getByText('1/1').waitFor()
    await row(page, '/hello-world').getByText('running').waitFor()
  })

  await step('its endpoint on the page answers with the changed option', async () => {
    const href = await row(page, '/hello-world').getByRole('link').first().getAttribute('href')
    await until(`${href} answers`, async () => {
      const text = await (await fetch(href)).text()
      return text.includes('Hello from the browser') || text
    })
  })

  await step('what the command line changes is seen without a reload and without a request', async () => {
    await look(page, 'services')
    const before = seen.requests.length
    await dcos('marathon', 'app', 'update', '/hello-world', 'instances=2')
    await row(page, '/hello-world').getByText('2/2').waitFor()
    await page.locator('.big-fraction', { hasText: '2of 2 instances running' }).waitFor()
    const asked = seen.requests.slice(before).filter(u => !u.includes('/dcos/v1/why'))
    must(asked.length === 0, `the page asked: ${asked.join(', ')}`)
    must(await page.evaluate(() => window.stillTheSamePage), 'the page was loaded anew')
  })

  await step('scaling on the page is seen by the command line', async () => {
    await page.getByRole('button', { name: 'One more' }).click()
    await page.getByText('dcos marathon app update /hello-world instances=3').waitFor()
    await page.getByRole('button', { name: 'Scale', exact: true }).click()
    await row(page, '/hello-world').getByText('3/3').waitFor()
    await until('three instances', async () => {
      const app = JSON.parse(await dcos('marathon', 'app', 'show', '/hello-world', '--json').catch(() => dcos('marathon', 'app', 'show', '/hello-world')))
      return (app.app ?? app).instances === 3 || JSON.stringify(app)
    })
    await page.getByRole('button', { name: 'One less' }).click()
    await page.getByRole('button', { name: 'Scale', exact: true }).click()
    await page.getByRole('dialog').getByText('1 instance ends.').waitFor()
    await look(page, 'scale-down')
    await page.getByRole('dialog').getByRole('button', { name: 'Scale down' }).click()
    await row(page, '/hello-world').getByText('2/2').waitFor()
  })

  await step('a connection that is lost is said, and what happened meanwhile is seen afterwards', async () => {
    expected.push('net::ERR_') // what the browser says of the cut itself
    wire.cut()
    await page.locator('.live[data-phase=reconnecting]').waitFor()
    await page.getByText('No connection to the cluster for').waitFor()
    await look(page, 'reconnecting')
    await dcos('marathon', 'app', 'update', '/hello-world', 'instances=1')
    must(await row(page, '/hello-world').getByText('2/2').isVisible(), 'what was known before is not shown any more')
    wire.mend()
    await page.locator('.live[data-phase=live]').waitFor()
    await row(page, '/hello-world').getByText('1/1').waitFor()
    await page.getByText('No connection to the cluster for').waitFor({ state: 'detached' })
    const resumed = seen.requests.filter(u => u.includes('/dcos/v1/stream'))
    must(resumed.length > 1, `the stream was not asked for again: ${resumed.join(', ')}`)
    expected.length = 0
    await dcos('marathon', 'app', 'update', '/hello-world', 'instances=2')
    await row(page, '/hello-world').getByText('2/2').waitFor()
  })

  await step('the log of a task is followed on the page', async () => {
    await nav(page, 'Tasks')
    const tasks = page.locator('[role=row][data-key^="hello-world"]')
    await tasks.first().getByText('running').waitFor()
    await tasks.first().getByRole('button').click()
    const id = await tasks.first().getAttribute('data-key')
    await page.getByRole('log').getByText('listens on port').first().waitFor()
    const line = (await page.getByRole('log').locator('div').first().textContent()).trim()
    const log = await dcos('task', 'log', id)
    must(log.includes(line), `the page shows ${JSON.stringify(line)}, the command line ${JSON.stringify(log)}`)
    await look(page, 'task-log')
    await page.getByRole('button', { name: 'stderr' }).click()
    await page.getByText('Nothing was written to stderr so far').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('heading', { name: 'Log' }).waitFor({ state: 'detached' })
    await look(page, 'tasks')
  })

  await step('why a service finds no place is said in the words of the command line', async () => {
    const file = join(scratch, 'too-big.json')
    writeFileSync(file, JSON.stringify({ id: '/too-big', cmd: 'sleep 1000', cpus: 5000, mem: 32, instances: 1 }))
    await dcos('marathon', 'app', 'add', '--no-wait', file)
    await nav(page, 'Overview')
    await page.getByRole('heading', { level: 1, name: 'All good, except one thing.' }).waitFor()
    await look(page, 'overview')
    await page.getByRole('link', { name: /^Why: \/too-big/ }).click()
    const panel = page.getByRole('region', { name: 'Why it does not run' })
    const why = JSON.parse(await dcos('why', '/too-big', '--json'))
    await panel.getByText(why.summary, { exact: true }).waitFor()
    for (const text of why.suggest ?? []) await panel.getByText(text, { exact: true }).waitFor()
    must(/cpus/i.test(await panel.textContent()), `the panel does not name cpus: ${await panel.textContent()}`)
    await look(page, 'why')
  })

  await step('what cannot be undone has to be typed; then the services are gone', async () => {
    for (const [id, act] of [['too-big', 'Remove'], ['hello-world', 'Uninstall']]) {
      await row(page, `/${id}`).getByRole('button').click()
      await page.getByRole('heading', { level: 2, name: `/${id}`, exact: true }).waitFor()
      await page.getByRole('button', { name: act, exact: true }).click()
      const dialog = page.getByRole('dialog')
      must(await dialog.getByRole('button', { name: act, exact: true }).isDisabled(), 'it can be removed without typing its name')
      if (id === 'hello-world') await look(page, 'uninstall')
      await dialog.getByLabel(/Type/).fill(id)
      await dialog.getByRole('button', { name: act, exact: true }).click()
      await row(page, `/${id}`).waitFor({ state: 'detached' })
    }
    await page.getByRole('heading', { name: 'No services yet' }).waitFor()
    const left = JSON.parse(await dcos('marathon', 'app', 'list', '--json'))
    must((left.apps ?? left).length === 0, `the command line still shows ${JSON.stringify(left)}`)
  })

  await step('the screens fit a telephone', async () => {
    await page.setViewportSize({ width: 390, height: 800 })
    for (const name of ['Overview', 'Nodes', 'Catalog']) {
      await nav(page, name)
      await page.getByRole('heading', { level: 1 }).first().waitFor()
      must(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} is wider than the screen`)
      await look(page, `narrow-${name.toLowerCase()}`)
    }
    await page.setViewportSize({ width: 1440, height: 900 })
  })

  await step('it is the same page as at the beginning, and logging out ends it', async () => {
    must(await page.evaluate(() => window.stillTheSamePage), 'the page was loaded anew')
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.getByRole('heading', { name: 'Log in to the cluster' }).waitFor()
    await look(page, 'login')
  })
  await done()
}

// strangers sees what those see who have no credential.
async function strangers() {
  const { page, done } = await open('401 (Unauthorized)')
  await step('a login link works once', async () => {
    await page.goto(link)
    await page.getByRole('alert').getByText('Not logged in').waitFor()
    must(!page.url().includes('token'), 'the address still holds the token')
  })
  await step('a wrong password is refused and what was typed stays', async () => {
    await page.getByLabel('User').fill('somebody')
    await page.getByLabel('Password').fill('wrong-password')
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('button', { name: 'Log in' }).and(page.locator(':enabled')).waitFor()
    await page.getByRole('alert').waitFor()
    must(await page.getByLabel('User').inputValue() === 'somebody', 'the name is gone')
    await look(page, 'login-refused')
  })
  await done()
}

let failed
try {
  await whole()
  await strangers()
  console.log('the page passed')
} catch (e) {
  failed = e
  const page = browser.contexts().at(-1)?.pages().at(-1)
  if (page && shots) await page.screenshot({ path: join(shots, 'failed.png') }).catch(() => {})
  if (page) console.error(`at ${page.url().replace(/token=.*/, 'token=...')}\n${(await page.locator('body').innerText().catch(() => '')).slice(0, 2000)}`)
  console.error(e.stack)
} finally {
  await browser.close()
  wire.cut()
  server.close()
  rmSync(scratch, { recursive: true, force: true })
}
process.exit(failed ? 1 : 0)
