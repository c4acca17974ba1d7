import { request as httpRequest } from 'node:http'
import type { Test } from 'tap'
import { ADMIN_KEY, connectByOAuth, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createSession } from '../support/oauth.ts'
import { type FuzzRequest, SECRET, type Who } from './inputs.ts'

export type FuzzAnswer = {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
  /** The secret that this request alone carried. */
  secret: string
}

/** What is in one request line and one header at most. */
const LONGEST = 6_000
/** How often what requests have deleted is made anew. */
const REQUESTS_PER_STOCK = 100

/** A broker and a GitLab with one of everything, and more when requests have used it up. */
export const setScene = async (t: Test) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { world } = simulator
  const keys: Record<Who, string | undefined> = {
    admin: ADMIN_KEY,
    manager: await broker.createKey('manager', ['acme']),
    scanner: await broker.createKey('scanner', ['acme']),
    'admin of another': await broker.createKey('admin', ['initech']),
    nobody: undefined,
    'a stranger': SECRET,
  }
  const words = new Map<string, string>()
  let fills = 0
  const fill = async (): Promise<void> => {
    fills += 1
    const oauth = world.issueOAuthToken({
      username: 'maria',
      clientId: 'simulator-client',
      scopes: ['read_repository', 'read_api'],
    })
    const connected = await connectToken(stage, { username: 'tom', scopes: ['api'] })
    const connection = fills % 2 === 0 ? await connectByOAuth(stage).catch(() => connected.id) : connected.id
    const lease = await broker.get(`/v1/connections/${connection}/credential`)
    const app = await broker.post('/v1/oauth-apps', {
      slug: `app-${fills}`,
      instance_id: stage.instanceId,
      client_id: 'FAKE',
      client_secret: 'FAKE',
    })
    const key = await broker.post('/v1/access-keys', { name: 'x', role: 'scanner', organizations: ['acme'] })
    const make = (scopes: string[]) =>
      world.createAccessToken({ kind: 'personal', username: 'maria', scopes }).token
    const dead = make(['read_api'])
    world.revokeToken(dead)
    const entries = {
      $gitlab: simulator.url,
      $host: new URL(simulator.url).host,
      $instance: stage.instanceId,
      $connection: connection,
      $lease: lease.body.lease_id,
      $app: app.body.id,
      $key: key.body.id,
      $token: make(['read_api', 'read_repository', 'self_rotate']),
      $dead: dead,
      $oauth: oauth.accessToken,
      $refresh: oauth.refreshToken,
      $session: await createSession(broker),
    }
    for (const [word, value] of Object.entries(entries)) if (value) words.set(word, value)
    clock.advance(600)
  }

  let sent = 0
  let filling: Promise<void> = fill()
  const send = async (request: FuzzRequest): Promise<FuzzAnswer> => {
    if (sent % REQUESTS_PER_STOCK === REQUESTS_PER_STOCK - 1) filling = filling.then(fill)
    sent += 1
    await filling
    const secret = `glpat-FAKE-planted-${sent}`
    const said = (text: string): string =>
      text.replace(/\$[A-Za-z]+/g, (word) => (word === SECRET ? secret : (words.get(word) ?? word)))
    const { operation, body, query, path } = request
    const target = operation.path.replace(/\{(\w+)\}/g, (_, name) =>
      encodeURIComponent(toText(said(path[name] ?? ''))),
    )
    const search = query.map(
      ([name, value]) =>
        `${encodeURIComponent(toText(said(name)))}=${encodeURIComponent(toText(said(value)))}`,
    )
    const key = keys[request.who]
    const headers: Record<string, string> = {
      ...(key === undefined ? {} : { authorization: `Bearer ${said(key)}` }),
      ...Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [said(name), said(value)]),
      ),
    }
    const text = body === undefined ? undefined : said(body.text)
    if (body?.type !== undefined) headers['content-type'] = said(body.type)
    const url = new URL(
      `${broker.url}${target}${search.length > 0 ? `?${search.join('&')}` : ''}`.slice(0, LONGEST),
    )
    return { ...(await exchange(url, operation.method, headers, text)), secret }
  }
  return { broker, send }
}

/** Halves of pairs cannot be in a URL. */
const toText = (text: string): string => text.toWellFormed()

/** Not by fetch, which adds headers of its own. */
const exchange = (
  url: URL,
  method: string,
  headers: Record<string, string>,
  body: string | undefined,
): Promise<Omit<FuzzAnswer, 'secret'>> =>
  new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const request = httpRequest(url, { method, headers: { ...headers, ...length } }, async (response) => {
      let text = ''
      response.setEncoding('utf8')
      for await (const chunk of response) text += chunk
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text })
    })
    request.once('error', reject).end(body)
  })
