// npm run screenshots: the two pictures of the README. npm run screenshots -- <folder>: every state of the page, in
// light, dark, on a phone and at 200 % zoom, to be looked at.
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { startSimulator } from '../simulator/simulator.ts'
import { readConfig } from '../src/config/config.ts'
import { createLogger } from '../src/log.ts'
import { startBroker } from '../src/start.ts'
import { launchChromium } from '../test/support/chromium.ts'

const ADMIN_KEY = 'FAKE-admin-key-for-screenshots-0123456789'
const PORT = 8087
const SIMULATOR_PORT = 8928
const OAUTH_APP = { clientId: 'screenshots', clientSecret: 'gloas-FAKE-screenshots-client-secret' }
const DAY_SECONDS = 86_400

/** What is read of the API's answers. */
type Created = { id: string; key: string; url: string }

const setStage = async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gtb-screenshots-'))
  let advancedMs = 0
  let lastNumber = 0
  const clock = () => Date.now() + advancedMs
  const url = `http://127.0.0.1:${PORT}`
  const app = { ...OAUTH_APP, redirectUris: [`${url}/oauth/gitlab/callback`] }
  const simulator = await startSimulator({
    port: SIMULATOR_PORT,
    now: clock,
    repositories: false,
    apps: [app],
  })
  const config = readConfig({
    PORT: String(PORT),
    PUBLIC_URL: url,
    DATA_DIR: folder,
    BOOTSTRAP_ADMIN_KEY: ADMIN_KEY,
    RETURN_ORIGINS: 'https://app.example.com',
  })
  const broker = await startBroker(config, createLogger('silent'), clock)

  const post = async (path: string, body: object, key = ADMIN_KEY, method = 'POST') => {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      ...(method === 'GET' ? {} : { body: JSON.stringify(body) }),
    })
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`)
    return (await response.json()) as Created
  }
  const instance = await post('/v1/instances', {
    base_url: simulator.url,
    name: 'GitLab',
    allow_private_network: true,
  })
  await post('/v1/oauth-apps', {
    slug: 'gitlab',
    instance_id: instance.id,
    client_id: OAUTH_APP.clientId,
    client_secret: OAUTH_APP.clientSecret,
  })
  const manager = await post('/v1/access-keys', {
    name: 'Ada',
    role: 'manager',
    organizations: ['acme', 'globex'],
  })
  const scanner = await post('/v1/access-keys', {
    name: 'nightly scanner',
    role: 'scanner',
    organizations: ['acme', 'globex'],
  })
  return {
    url,
    simulator,
    post,
    managerKey: manager.key,
    scannerKey: scanner.key,
    /** Connecting anew each time takes an organization that is not connected. */
    nextNumber: () => ++lastNumber,
    advance(seconds: number) {
      advancedMs += seconds * 1000
    },
    async close() {
      await broker.close()
      await simulator.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

type Stage = Awaited<ReturnType<typeof setStage>>

const link = async ({ post }: Stage, more: object = {}): Promise<string> =>
  (await post('/v1/connect-sessions', { organization: 'acme', ...more })).url

const token = ({ simulator }: Stage, username: string, scopes: string[], days?: number): string =>
  simulator.world.createAccessToken({
    kind: 'personal',
    username,
    scopes,
    ...(days === undefined ? {} : { expiresAt: dayAfter(simulator.clock.now(), days) }),
  }).token

const dayAfter = (now: number, days: number): string =>
  new Date(now + days * DAY_SECONDS * 1000).toISOString().slice(0, 10)

/** Where the way through GitLab ends: with a result, or with a question. */
const ENDS = /status=|\/connect\/confirm$/

const throughGitLab = async (page: Page, user: string, choice: 'Authorize' | 'Deny') => {
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await page.getByRole('button', { name: user }).click()
  // GitLab asks only once: who authorized before is sent straight back.
  const button = page.getByRole('button', { name: choice, exact: true })
  await Promise.race([button.waitFor(), page.waitForURL(ENDS)])
  if (await button.isVisible()) await button.click()
  await page.waitForURL(ENDS)
}

const signIn = async (page: Page, { url, managerKey }: Stage) => {
  await page.goto(`${url}/connect/sign-in`)
  await page.getByLabel('Access key', { exact: true }).fill(managerKey)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('heading', { name: 'Connected accounts' }).waitFor()
}

const paste = async (page: Page, text: string) => {
  await page.getByLabel('Personal access token', { exact: true }).fill(text)
  await page.locator('#token-report .verdict').waitFor()
}

/** One account of each kind and state. */
const connectSome = async (stage: Stage) => {
  const { post, simulator, scannerKey } = stage
  const connect = (body: object) =>
    post('/v1/connections/personal-access-token', { base_url: simulator.url, ...body })
  simulator.world.addUser({ username: 'scan-bot', name: 'Scan Bot' })
  simulator.world.addUser({ username: 'lena', name: 'Lena Holm' })
  const revoked = token(stage, 'lena', ['read_api', 'read_repository'])
  const dead = await connect({ organization: 'acme', token: revoked })
  simulator.world.revokeToken(revoked)
  await post(`/v1/connections/${dead.id}/verify`, {})
  await connect({
    organization: 'globex',
    name: 'reporting',
    token: token(stage, 'tom', ['read_api', 'read_repository'], 9),
  })
  const bot = await connect({
    organization: 'acme',
    group: 'acme',
    token: simulator.world.createAccessToken({
      kind: 'group',
      path: 'acme',
      scopes: ['read_api', 'read_repository', 'self_rotate'],
    }).token,
  })
  await post(`/v1/connections/${bot.id}/credential?min_ttl=60`, {}, scannerKey, 'GET')
}

/** Maria connects by OAuth, as people do. */
const connectMaria = async (browser: Browser, stage: Stage) => {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(await link(stage))
  await throughGitLab(page, 'Maria Rossi', 'Authorize')
  await context.close()
}

type State = { name: string; show(page: Page, stage: Stage): Promise<void> }

const STATES: State[] = [
  {
    name: 'link',
    async show(page, stage) {
      await page.goto(await link(stage))
    },
  },
  {
    name: 'verified',
    async show(page, stage) {
      await page.goto(await link(stage))
      await page.getByLabel('GitLab base URL').last().fill(stage.simulator.url)
      await page.getByLabel('Group (optional)').fill('acme')
      await paste(page, token(stage, 'maria', ['api', 'read_repository'], 40))
    },
  },
  {
    name: 'refused',
    async show(page, stage) {
      await page.goto(await link(stage))
      await page.getByLabel('GitLab base URL').last().fill(stage.simulator.url)
      await paste(page, token(stage, 'maria', ['read_user']))
    },
  },
  {
    name: 'connected',
    async show(page, stage) {
      await page.goto(await link(stage, { organization: `team-${stage.nextNumber()}` }))
      await throughGitLab(page, 'Maria Rossi', 'Authorize')
      await page.getByRole('button', { name: /^Connect to/ }).click()
      await page.waitForURL(/status=/)
    },
  },
  {
    name: 'question',
    async show(page, stage) {
      await page.goto(await link(stage, { organization: `team-${stage.nextNumber()}` }))
      await throughGitLab(page, 'Maria Rossi', 'Authorize')
    },
  },
  {
    name: 'unregistered',
    async show(page, stage) {
      await page.goto(await link(stage))
      await page.getByLabel('GitLab base URL').last().fill('https://gitlab.company.example')
      await paste(page, 'glpat-FAKE-of-the-company')
    },
  },
  {
    name: 'link-while-signed-in',
    async show(page, stage) {
      await signIn(page, stage)
      await page.goto(await link(stage))
    },
  },
  {
    name: 'denied',
    async show(page, stage) {
      await page.goto(await link(stage))
      await throughGitLab(page, 'Tom Novak', 'Deny')
    },
  },
  {
    name: 'link-unknown',
    async show(page, stage) {
      await page.goto(`${stage.url}/connect?session=gcs_FAKE`)
    },
  },
  {
    name: 'sign-in',
    async show(page, stage) {
      await page.goto(`${stage.url}/connect`)
    },
  },
  { name: 'accounts', show: signIn },
  {
    name: 'accounts-of-one',
    async show(page, stage) {
      await signIn(page, stage)
      await page.goto(`${stage.url}/connect?organization=acme`)
    },
  },
  {
    name: 'projects',
    async show(page, stage) {
      await signIn(page, stage)
      await page.getByRole('link', { name: 'Projects' }).last().click()
      await page.getByRole('button', { name: 'Synchronise now' }).click()
      for (let tries = 0; tries < 20 && (await page.getByText('acme/web-shop').count()) === 0; tries += 1)
        await page.reload()
    },
  },
  {
    name: 'disconnect',
    async show(page, stage) {
      await signIn(page, stage)
      await page.getByRole('link', { name: 'Disconnect' }).last().click()
    },
  },
  {
    name: 'replace',
    async show(page, stage) {
      await signIn(page, stage)
      await page.getByRole('link', { name: 'Replace token' }).first().click()
    },
  },
]

const LOOKS: Record<string, BrowserContextOptions> = {
  light: { viewport: { width: 1180, height: 800 }, colorScheme: 'light' },
  dark: { viewport: { width: 1180, height: 800 }, colorScheme: 'dark' },
  phone: { viewport: { width: 375, height: 740 }, colorScheme: 'light' },
  // A window of 1280 pixels at 200 % lays out 640.
  readme: { viewport: { width: 1080, height: 946 }, colorScheme: 'light' },
  zoomed: { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2, colorScheme: 'light' },
}

type Picture = {
  look: string
  path: string /** A part of the page; all of it when left out. */
  part?: string
}

const take = async (browser: Browser, stage: Stage, state: State, { look, path, part }: Picture) => {
  const context = await browser.newContext({ ...LOOKS[look], reducedMotion: 'reduce' })
  const page = await context.newPage()
  await state.show(page, stage)
  if (part === undefined) await page.screenshot({ path, fullPage: look !== 'readme' })
  else await page.locator(part).screenshot({ path })
  await context.close()
}

/** Small enough to be committed. */
const README_PICTURES = [
  { name: 'accounts-of-one', file: 'accounts.png' },
  { name: 'verified', file: 'verified.png', part: '.token' },
]

const [folder, only] = process.argv.slice(2)
const stage = await setStage()
const browser = await launchChromium()
try {
  await connectSome(stage)
  await connectMaria(browser, stage)
  if (folder === undefined) {
    const docs = join(import.meta.dirname, '../docs/screenshots')
    for (const { name, file, ...more } of README_PICTURES) {
      const state = STATES.find((candidate) => candidate.name === name)
      if (state) await take(browser, stage, state, { look: 'readme', path: join(docs, file), ...more })
    }
  } else {
    await mkdir(folder, { recursive: true })
    for (const state of STATES.filter(({ name }) => only === undefined || name === only)) {
      for (const look of Object.keys(LOOKS)) {
        await take(browser, stage, state, { look, path: join(folder, `${state.name}-${look}.png`) })
      }
    }
  }
} finally {
  await browser.close()
  await stage.close()
}
