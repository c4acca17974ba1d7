import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Browser, BrowserContextOptions, Page, Request } from 'playwright-core'
import type { Test } from 'tap'
import { type BrokerOptions, type Stage, setStage } from '../support/broker.ts'
import { launchChromium } from '../support/chromium.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

/** What a page did that it must not do. */
type Watched = {
  page: Page
  /** Requests of our pages to anywhere but ourselves; going to GitLab as a whole page is none. */
  strayRequests: string[]
  /** What the browser says of the content security policy, and every error of a script. */
  complaints: string[]
}

export type ConnectStage = Stage & {
  /** A browser of its own for one person: no cookies, no history. */
  open(options?: BrowserContextOptions): Promise<Watched>
  link(body?: object): Promise<string>
  /** A personal access token at the simulator. */
  token(username: string, scopes: string[], expiresAt?: string | null): string
  connectToken(body: { organization: string; token: string; [field: string]: unknown }): Promise<string>
}

type Body = (t: Test, stage: ConnectStage) => Promise<void>
type PageTest = (name: string, body: Body, options?: BrokerOptions) => void

/**
 * Tests with one Chromium for the file. Each has a broker and a GitLab of its own, and whatever it looks at is
 * watched: at its end no request has left our origin, and the browser had nothing to complain about.
 */
export const pageTests = (t: Test): PageTest => {
  let launched: Promise<Browser> | undefined
  const browser = () => {
    launched ??= launchChromium()
    return launched
  }
  t.teardown(async () => (await launched)?.close())
  return (name, body, options) => {
    t.test(name, async (t) => {
      const watched: Watched[] = []
      const stage = await setConnectStage(t, browser, watched, options)
      await body(t, stage)
      t.same(
        watched.flatMap(({ strayRequests }) => strayRequests),
        [],
        'no request leaves our origin',
      )
      t.same(
        watched.flatMap(({ complaints }) => complaints),
        [],
        'the browser has nothing to complain about',
      )
    })
  }
}

const watch = (page: Page, ownOrigin: string): Watched => {
  const watched: Watched = { page, strayRequests: [], complaints: [] }
  page.on('request', (request: Request) => {
    if (new URL(request.url()).origin === ownOrigin || request.url().startsWith('data:')) return
    const leavesPage = request.isNavigationRequest() && request.frame() === page.mainFrame()
    // A page of GitLab may load what it wants.
    const isOurs = !leavesPage && request.frame().url().startsWith(ownOrigin)
    if (isOurs) watched.strayRequests.push(request.url())
  })
  page.on('console', (message) => {
    if (page.url().startsWith(ownOrigin) && /Content.Security.Policy|Refused to/i.test(message.text()))
      watched.complaints.push(message.text())
  })
  page.on('pageerror', (error) => watched.complaints.push(String(error)))
  return watched
}

const setConnectStage = async (
  t: Test,
  browser: () => Promise<Browser>,
  watchedPages: Watched[],
  broker: BrokerOptions = {},
): Promise<ConnectStage> => {
  const stage = await setStage(t, { broker })
  const { url, post } = stage.broker
  return {
    ...stage,
    async open(options = {}) {
      const context = await (await browser()).newContext({ reducedMotion: 'reduce', ...options })
      context.setDefaultTimeout(30_000)
      const watched = watch(await context.newPage(), url)
      watchedPages.push(watched)
      t.teardown(() => context.close())
      return watched
    },
    async link(body = {}) {
      const session = await post('/v1/connect-sessions', { organization: 'acme', ...body })
      t.equal(session.status, 201, session.text)
      return session.body.url
    },
    token: (username, scopes, expiresAt) =>
      stage.simulator.world.createAccessToken({
        kind: 'personal',
        username,
        scopes,
        ...(expiresAt === undefined ? {} : { expiresAt }),
      }).token,
    async connectToken(body) {
      const answer = await post('/v1/connections/personal-access-token', {
        base_url: stage.simulator.url,
        ...body,
      })
      t.equal(answer.status, 201, answer.text)
      return answer.body.id
    },
  }
}

/** What axe-core finds wrong with the page as it is: `rule: element`. */
export const findViolations = async (page: Page): Promise<string[]> => {
  await page.evaluate(AXE)
  return page.evaluate(async (tags) => {
    // biome-ignore lint/suspicious/noExplicitAny: axe puts itself into the window
    const { violations } = await (globalThis as any).axe.run({ runOnly: tags })
    return violations.flatMap(({ id, nodes }: { id: string; nodes: { html: string }[] }) =>
      nodes.map(({ html }) => `${id}: ${html}`),
    )
  }, RULES)
}

/** Signs in at GitLab, and answers its question; it asks only once for the same scopes. */
export const throughGitLab = async (
  page: Page,
  { user, choice = 'Authorize' }: { user: string; choice?: 'Authorize' | 'Deny' },
): Promise<void> => {
  await page.getByRole('button', { name: user }).click()
  await page.getByRole('button', { name: choice, exact: true }).click()
  await page.waitForURL(/status=/)
}

export const signIn = async (page: Page, url: string, key: string): Promise<void> => {
  await page.goto(`${url}/connect/sign-in`)
  await page.getByLabel('Access key', { exact: true }).fill(key)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('heading', { name: 'Connected accounts' }).waitFor()
}

/** The form for a personal access token. */
export const tokenForm = (page: Page) => {
  const form = page.locator('form[action$="/connect/token"]')
  return {
    token: form.getByLabel('Personal access token', { exact: true }),
    baseUrl: form.getByLabel('GitLab base URL'),
    group: form.getByLabel('Group (optional)'),
    report: form.locator('.report'),
    connect: form.getByRole('button', { name: 'Connect' }),
  }
}
