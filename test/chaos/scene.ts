import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Engine } from '../../simulator/iam.ts'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { type Simulator, startSimulator } from '../../simulator/simulator.ts'
import { freePort } from '../support/postgres.ts'
import { type BrokerProcess, createBrokerProcess } from './brokers.ts'
import { type ChaosDatabase, startChaosDatabase } from './database.ts'
import { ask } from './http.ts'
import { createJournal, type Journal } from './journal.ts'
import type { Random } from './random.ts'

/** A connection under test, and which chain of tokens at GitLab is behind it. */
export type Subject = {
  id: string
  grantId: string
  kind: 'oauth' | 'personal'
  /** Its scanners may preempt each other: what that breaks is counted apart. */
  preempted: boolean
}

export type Scene = {
  database: ChaosDatabase
  simulator: Simulator
  brokers: BrokerProcess[]
  journal: Journal
  subjects: Subject[]
  scannerKey: string
  /** Which auth service of GitLab issues the OAuth tokens. */
  engine: Engine
  close(): Promise<void>
}

export type SceneSize = { oauth: number; preempted: number; personal: number; tokenLifeSeconds: number }

/** By how much the clock of each replica's machine is wrong. */
const CLOCK_SHIFTS_MS = [0, 300_000, -240_000]
const CONNECTED_AT_ONCE = 12
const SCOPES = ['read_user', 'read_api', 'read_repository']
const START_LIMIT_MS = 60_000
const MOST_TRIES = 5

/** Three brokers on one PostgreSQL, a GitLab, and connections to it. */
export const setScene = async (
  size: SceneSize,
  random: Random,
  { logFile, engine = 'doorkeeper' }: { logFile?: string | undefined; engine?: Engine | undefined },
): Promise<Scene> => {
  const folder = await mkdtemp(join(tmpdir(), 'gtb-chaos-'))
  const database = await startChaosDatabase()
  const simulator = await startSimulator({
    repositories: false,
    accessTokenLifetimeSeconds: size.tokenLifeSeconds,
    random: random.fork().next,
  })
  simulator.world.setEngine(SEEDED_APP.clientId, engine)
  const isSecret = (text: string) => simulator.world.tokenState(text) !== 'unknown'
  const journal = createJournal(isSecret, logFile)
  const adminKey = `FAKE-admin-key-${randomBytes(24).toString('hex')}`
  const masterKey = randomBytes(32).toString('base64')
  const brokers: BrokerProcess[] = []
  for (const [number, clockShiftMs] of CLOCK_SHIFTS_MS.entries()) {
    const name = `broker-${number + 1}`
    const port = await freePort()
    const dataDir = join(folder, name)
    const shared = { databaseUrl: database.url, adminKey, masterKey, journal }
    brokers.push(createBrokerProcess({ name, port, dataDir, clockShiftMs, ...shared }))
  }
  const close = async () => {
    await Promise.all(brokers.map((broker) => broker.stop()))
    await simulator.close()
    await database.stop()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    for (const broker of brokers) broker.start()
    await untilAllListen(brokers)
    const connected = await connectAll(brokers[0]!.url, adminKey, simulator, size)
    return { database, simulator, brokers, journal, engine, ...connected, close }
  } catch (error) {
    await close()
    const lastWords = journal.endings.map((ending) => ending.lastWords).filter(Boolean)
    throw new Error(['the scene cannot be set', ...new Set(lastWords)].join('\n'), { cause: error })
  }
}

export const untilAllListen = async (brokers: BrokerProcess[]): Promise<void> => {
  const limit = performance.now() + START_LIMIT_MS
  while (brokers.some((broker) => broker.incarnation() === undefined)) {
    if (performance.now() > limit) throw new Error('a broker does not start')
    await sleep(50)
  }
}

const connectAll = async (
  url: string,
  key: string,
  { world, url: baseUrl }: Simulator,
  size: SceneSize,
): Promise<Pick<Scene, 'subjects' | 'scannerKey'>> => {
  const create = async (path: string, body: object): Promise<Record<string, string>> => {
    let answer = await ask(url, 'POST', path, { key, body })
    // A machine that is busy with something else: the trouble has not begun yet.
    for (let tried = 1; answer?.status === 503 && tried < MOST_TRIES; tried += 1) {
      await sleep(answer.retryAfterSeconds * 1000)
      answer = await ask(url, 'POST', path, { key, body })
    }
    if (answer?.status !== 201) throw new Error(`POST ${path}: ${answer?.status} ${answer?.text}`)
    return answer.body
  }
  const instance = await create('/v1/instances', { base_url: baseUrl, allow_private_network: true })
  await create('/v1/oauth-apps', {
    slug: 'simulator',
    instance_id: instance.id,
    client_id: SEEDED_APP.clientId,
    client_secret: SEEDED_APP.clientSecret,
  })
  const scanner = await create('/v1/access-keys', { name: 'scanners', role: 'scanner', organizations: ['*'] })

  const connect = async (index: number): Promise<Subject> => {
    const username = `member-${index}`
    world.addUser({ username })
    const shared = { organization: 'acme', base_url: baseUrl }
    if (index >= size.oauth + size.preempted) {
      const { token } = world.createAccessToken({ kind: 'personal', username, scopes: SCOPES })
      const { id } = await create('/v1/connections/personal-access-token', { ...shared, token })
      return { id: id!, grantId: world.tokenDetails(token)!.grantId, kind: 'personal', preempted: false }
    }
    const pair = world.issueOAuthToken({ username, clientId: SEEDED_APP.clientId, scopes: SCOPES })
    const { id } = await create('/v1/connections/oauth-token', {
      ...shared,
      access_token: pair.accessToken,
      refresh_token: pair.refreshToken,
      oauth_app: 'simulator',
    })
    return { id: id!, grantId: pair.grantId, kind: 'oauth', preempted: index >= size.oauth }
  }

  const subjects: Subject[] = []
  const indices = Array.from({ length: size.oauth + size.preempted + size.personal }, (_, i) => i).values()
  const lane = async () => {
    for (const index of indices) subjects.push(await connect(index))
  }
  await Promise.all(Array.from({ length: CONNECTED_AT_ONCE }, lane))
  return { subjects, scannerKey: scanner.key! }
}
