import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import { v7 as uuidv7 } from 'uuid'
import { SEEDED_APP } from '../simulator/seed.ts'
import { startSimulator } from '../simulator/simulator.ts'
import { systemClock } from '../src/clock/clock.ts'
import { openKeyRing } from '../src/vault/key-ring.ts'
import { createVault } from '../src/vault/vault.ts'
import { createBenchDatabase } from './database.ts'
import { ADMIN_KEY, MASTER_KEY, SCANNER_KEY } from './seed.ts'
import { startServer } from './server-process.ts'
import { percentile } from './stats.ts'

export type Storm = {
  connections: number
  scanners: number
  gitlabPerSecond: number
  seconds: number
  refreshed: number
  refreshedTwice: number
  rateLimitAnswers: number
  firstAnswerMs: number
  p50Ms: number
  p99Ms: number
  /** Answers by status; 503 carries Retry-After. */
  answers: Record<string, number>
  withoutRetryAfter: number
}

const USERNAME = 'maria'
const GIVE_UP_MS = 240_000

/** Every token is out, and all scanners come at once: each connection has to be refreshed exactly once. */
export const runStorm = async ({
  connections,
  scanners,
  gitlabPerSecond,
}: {
  connections: number
  scanners: number
  gitlabPerSecond: number
}): Promise<Storm> => {
  const database = await createBenchDatabase()
  const simulator = await startSimulator({
    repositories: false,
    rateLimit: { requestsPerSecond: gitlabPerSecond },
  })
  const broker = await startServer(
    'src/main.ts',
    { DATABASE_URL: database.url, MASTER_KEY, LOG_LEVEL: 'error' },
    '/readyz',
  )
  try {
    const ids = await seedExpired(database, broker.origin, simulator, connections)
    await database.settle()
    const storm = await drive(broker.origin, ids, scanners)
    const refreshes = simulator.world.events.filter(({ kind }) => kind === 'refreshed')
    return {
      connections,
      scanners,
      gitlabPerSecond,
      ...storm,
      refreshed: new Set(refreshes.map(({ grantId }) => grantId)).size,
      refreshedTwice: refreshes.length - new Set(refreshes.map(({ grantId }) => grantId)).size,
      rateLimitAnswers: simulator.requests.all().filter(({ status }) => status === 429).length,
    }
  } finally {
    await broker.stop()
    await simulator.close()
    await database.close()
  }
}

type BenchDatabase = Awaited<ReturnType<typeof createBenchDatabase>>
type Simulator = Awaited<ReturnType<typeof startSimulator>>

const call = (origin: string, path: string, body: unknown): Promise<{ id: string }> =>
  fetch(origin + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  }).then((response) => response.json() as Promise<{ id: string }>)

const seedExpired = async (
  { db }: BenchDatabase,
  origin: string,
  simulator: Simulator,
  count: number,
): Promise<string[]> => {
  const instance = await call(origin, '/v1/instances', {
    base_url: simulator.url,
    allow_private_network: true,
  })
  const app = await call(origin, '/v1/oauth-apps', {
    slug: 'simulator',
    instance_id: instance.id,
    client_id: SEEDED_APP.clientId,
    client_secret: SEEDED_APP.clientSecret,
  })
  const vault = createVault(
    await openKeyRing(db, [new Uint8Array(Buffer.from(MASTER_KEY, 'base64'))], systemClock),
  )
  const rows = await Promise.all(
    Array.from({ length: count }, async (_, number) => {
      const id = uuidv7()
      const { accessToken, refreshToken } = simulator.world.issueOAuthToken({
        username: USERNAME,
        clientId: SEEDED_APP.clientId,
        scopes: ['read_api', 'read_repository'],
      })
      const binding = { ownerId: id, version: 1 }
      return {
        id,
        number,
        access: await vault.seal(accessToken, { ...binding, use: 'access' }),
        refresh: await vault.seal(refreshToken, { ...binding, use: 'refresh' }),
      }
    }),
  )
  await sql`
    insert into connections (
      id, organization, instance_id, oauth_app_id, method, token_kind, group_path, gitlab_user_id, status, scopes,
      token_version, access_token, refresh_token, token_issued_at, token_expires_at, created_at, updated_at
    )
    select id, 'org-' || number % 100, ${instance.id}::uuid, ${app.id}::uuid, 'oauth', 'oauth_access_token',
      'group-' || number, number::text, 'active', '{read_api,read_repository}', 1, access, refresh,
      now() - interval '3 hours', now() - interval '1 hour', now(), now()
    from unnest(
      ${rows.map(({ id }) => id)}::uuid[], ${rows.map(({ number }) => number)}::int[],
      ${rows.map(({ access }) => access)}::text[], ${rows.map(({ refresh }) => refresh)}::text[]
    ) as row (id, number, access, refresh)
  `.execute(db)
  return rows.map(({ id }) => id)
}

const drive = async (origin: string, ids: string[], scanners: number) => {
  const queue = ids.values()
  const answers: Record<string, number> = {}
  const latencies: number[] = []
  const started = performance.now()
  let withoutRetryAfter = 0
  let firstAnswerMs = Number.POSITIVE_INFINITY

  const scanner = async () => {
    for (const id of queue) {
      while (performance.now() - started < GIVE_UP_MS) {
        const asked = performance.now()
        const response = await fetch(`${origin}/v1/connections/${id}/credential`, {
          headers: { authorization: `Bearer ${SCANNER_KEY}` },
        })
        await response.arrayBuffer()
        latencies.push(performance.now() - asked)
        answers[response.status] = (answers[response.status] ?? 0) + 1
        if (response.ok) {
          firstAnswerMs = Math.min(firstAnswerMs, performance.now() - started)
          break
        }
        const retryAfter = Number(response.headers.get('retry-after'))
        if (response.status !== 503 || !(retryAfter > 0)) withoutRetryAfter += 1
        await sleep(Math.max(1, retryAfter) * 1000)
      }
    }
  }
  await Promise.all(Array.from({ length: scanners }, scanner))
  return {
    seconds: (performance.now() - started) / 1000,
    firstAnswerMs,
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    answers,
    withoutRetryAfter,
  }
}
