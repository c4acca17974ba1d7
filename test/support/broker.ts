import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { approve } from '../../simulator/browser.ts'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { type Simulator, type SimulatorOptions, startSimulator } from '../../simulator/simulator.ts'
import { ensureFirstAdminKey } from '../../src/access-keys/bootstrap.ts'
import { createApp } from '../../src/app.ts'
import { type Config, readConfig } from '../../src/config/config.ts'
import type { Database, OpenDatabase } from '../../src/db/database.ts'
import { migrateToLatest } from '../../src/db/migrate.ts'
import { openDatabase } from '../../src/db/open.ts'
import type { Role } from '../../src/db/tables.ts'
import type { App } from '../../src/http/server.ts'
import type { Jobs } from '../../src/jobs/jobs.ts'
import { createLogger } from '../../src/log.ts'
import type { DatabaseHistory } from '../../src/token-lifecycle/history/watch-history.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import type { AppDeps } from '../../src/wiring/rooms.ts'
import type { Answer, RequestOptions } from './answer.ts'
import { createFakeClock, type FakeClock } from './clock.ts'
import { createTestDatabase } from './database.ts'
import { createBrowser } from './page-forms.ts'
import { freePort } from './postgres.ts'

export type { Answer, RequestOptions }

export const ADMIN_KEY = 'FAKE-admin-key-0123456789-0123456789'
export const MASTER_KEY = new Uint8Array(32).fill(7)

export type TestBroker = {
  url: string
  /** Where browsers find it; differs from `url` when a test says so. */
  publicUrl: string
  app: App
  /** The background work; tests run it by hand. */
  jobs: Jobs
  history: DatabaseHistory
  db: Database
  database: OpenDatabase
  clock: FakeClock
  /** What was logged: one JSON document a line. */
  logLines: string[]
  request(method: string, path: string, options?: RequestOptions): Promise<Answer>
  get(path: string, options?: RequestOptions): Promise<Answer>
  post(path: string, body?: unknown, options?: RequestOptions): Promise<Answer>
  createKey(role: Role, organizations: string[]): Promise<string>
  close(): Promise<void>
}

export type BrokerOptions = {
  clock?: FakeClock
  config?: Partial<Config>
  /** An open database to use, for a second replica on it. */
  database?: OpenDatabase
  embedded?: boolean
  /** The current one first. */
  masterKeys?: Uint8Array[]
  gitlab?: AppDeps['gitlab']
}

/** A broker of this test's own: its database, its clock, listening on loopback. */
export const startTestBroker = async (t: Test, options: BrokerOptions = {}): Promise<TestBroker> => {
  const clock = options.clock ?? createFakeClock()
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-test-'))
  const database = options.embedded
    ? openDatabase({ databaseUrl: undefined, dataDir, poolSize: 1 })
    : (options.database ?? (await createTestDatabase(t)))
  const { db, runPrepared } = database
  if (options.embedded) await migrateToLatest(database)

  const port = await freePort()
  const config = {
    ...readConfig({ DATA_DIR: dataDir }),
    publicUrl: `http://127.0.0.1:${port}`,
    returnOrigins: ['https://app.example.com'],
    ...options.config,
  }
  const logLines: string[] = []
  const logger = createLogger('trace', { write: (line: string) => void logLines.push(line) })
  const masterKeys = options.masterKeys ?? [MASTER_KEY]
  const keyRing = await openKeyRing(db, masterKeys, clock)
  await ensureFirstAdminKey(db, { configuredKey: ADMIN_KEY, mayGenerate: false, clock, logger })
  const { app, jobs, takeUpSpool, history } = await createApp({
    db,
    runPrepared,
    probed: database,
    keyRing,
    masterKeys: () => masterKeys,
    clock,
    logger,
    config,
    gitlab: { secondLookMs: 10, ...options.gitlab },
  })
  await takeUpSpool()
  await app.listen({ host: '127.0.0.1', port })
  const url = `http://127.0.0.1:${port}`

  let closed = false
  const close = async () => {
    if (closed) return
    closed = true
    await app.close()
  }
  t.teardown(async () => {
    await close()
    if (options.embedded) await database.close()
    await rm(dataDir, { recursive: true, force: true })
  })

  const request = async (
    method: string,
    path: string,
    { key = ADMIN_KEY, body, headers, rawBody }: RequestOptions = {},
  ): Promise<Answer> => {
    const response = await fetch(url + path, {
      method,
      redirect: 'manual',
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(rawBody !== undefined
        ? { body: rawBody }
        : body === undefined
          ? {}
          : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, body: parse(text) }
  }

  return {
    url,
    publicUrl: config.publicUrl,
    app,
    jobs,
    history,
    db,
    database,
    clock,
    logLines,
    request,
    get: (path, more) => request('GET', path, more),
    post: (path, body, more) => request('POST', path, { body, ...more }),
    async createKey(role, organizations) {
      const answer = await request('POST', '/v1/access-keys', {
        body: { name: `a ${role}`, role, organizations },
      })
      return answer.body.key
    },
    close,
  }
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export type Stage = { broker: TestBroker; simulator: Simulator; clock: FakeClock; instanceId: string }

/** A broker and a GitLab that share a clock, the GitLab registered as an instance with an OAuth app `simulator`. */
export const setStage = async (
  t: Test,
  options: { broker?: BrokerOptions; simulator?: SimulatorOptions } = {},
): Promise<Stage> => {
  const clock = options.broker?.clock ?? createFakeClock()
  const simulator = await startSimulator({ repositories: false, now: clock, ...options.simulator })
  t.teardown(() => simulator.close())
  const broker = await startTestBroker(t, { ...options.broker, clock })
  const instance = await broker.post('/v1/instances', {
    base_url: simulator.url,
    allow_private_network: true,
  })
  t.equal(instance.status, 201, instance.text)
  const app = await broker.post('/v1/oauth-apps', {
    slug: 'simulator',
    instance_id: instance.body.id,
    client_id: SEEDED_APP.clientId,
    client_secret: SEEDED_APP.clientSecret,
  })
  t.equal(app.status, 201, app.text)
  return { broker, simulator, clock, instanceId: instance.body.id }
}

/** Connects a user through a connect link and GitLab's pages, as a browser would. @returns the connection id. */
export const connectByOAuth = async (
  { broker }: Pick<Stage, 'broker'>,
  {
    organization = 'acme',
    username = 'maria',
    ...named
  }: { organization?: string; username?: string; group?: string } = {},
): Promise<string> => {
  const session = await broker.post('/v1/connect-sessions', { organization, ...named })
  const browser = createBrowser(broker, broker.publicUrl)
  const page = await browser.open(session.body.url)
  const start = await browser.submit(page.text, '/connect/oauth/simulator')
  const callback = await approve(start.headers.get('location')!, { username })
  let end = await browser.get(callback)
  // The account is connected in another organization already: the person is asked, and says yes.
  if (end.headers.get('location')?.endsWith('/connect/confirm')) {
    const question = await browser.open(end.headers.get('location')!)
    end = await browser.submit(question.text, '/connect/confirm')
  }
  const location = new URL(end.headers.get('location')!, broker.publicUrl)
  const id = location.searchParams.get('connection_id')
  if (!id) throw new Error(`OAuth did not connect: ${location}`)
  return id
}
