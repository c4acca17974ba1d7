import { approve } from '../../simulator/browser.ts'
import type { Answer, Stage, TestBroker } from './broker.ts'
import { createBrowser } from './page-forms.ts'

/** A browser that was sent to GitLab: where it is to go, and the cookies that it holds. */
export type Started = { authorizeUrl: string; cookie: string; setCookies: string[]; session: string }

/** The token in a fresh connect link. */
export const createSession = async (
  broker: TestBroker,
  wanted: { organization?: string; return_url?: string; methods?: string[]; expires_in?: number } = {},
): Promise<string> => {
  const answer = await broker.post('/v1/connect-sessions', { organization: 'acme', ...wanted })
  return new URL(answer.body.url).searchParams.get('session')!
}

/** Follows the address that platforms send people to. @returns the answer after all redirects, and the browser. */
export const openStart = async (broker: TestBroker, session: string, slug = 'simulator') => {
  const browser = createBrowser(broker, broker.publicUrl)
  const first = await browser.get(`/oauth/${slug}/start?session=${session}`)
  return { browser, first, page: await browser.open(first.headers.get('location') ?? '/connect') }
}

/** As a person does: opens the link, reads the page, and presses its button. */
export const startOAuth = async (
  broker: TestBroker,
  session: string,
  slug = 'simulator',
): Promise<Started> => {
  const { browser, page } = await openStart(broker, session, slug)
  const answer = await browser.submit(page.text, `/connect/oauth/${slug}`)
  const setCookies = answer.headers.getSetCookie()
  const cookie = setCookies.map((line) => line.split(';')[0]).join('; ')
  return { authorizeUrl: answer.headers.get('location')!, cookie, setCookies, session }
}

/** From the connect link through GitLab's pages; @returns the callback URL, not yet called. */
export const authorize = async (
  { broker }: Pick<Stage, 'broker'>,
  {
    username = 'maria',
    deny = false,
    ...session
  }: { username?: string; deny?: boolean } & Parameters<typeof createSession>[1] = {},
): Promise<Started & { callback: URL }> => {
  const started = await startOAuth(broker, await createSession(broker, session))
  return { ...started, callback: new URL(await approve(started.authorizeUrl, { username, deny })) }
}

/** What the browser is told at the end: the page or return URL, and its parameters. */
export type End = {
  answer: Answer
  page: string
  status: string | null
  code: string | null
  id: string | null
}

export const callBack = async (broker: TestBroker, callback: URL, cookie: string): Promise<End> => {
  const answer = await broker.get(callback.pathname + callback.search, { key: null, headers: { cookie } })
  const location = new URL(answer.headers.get('location') ?? 'about:blank')
  const parameter = (name: string) => location.searchParams.get(name)
  return {
    answer,
    page: location.origin + location.pathname,
    status: parameter('status'),
    code: parameter('code'),
    id: parameter('connection_id'),
  }
}
