import { setTimeout as sleep } from 'node:timers/promises'
import { createBenchDatabase } from './database.ts'
import { EVERY_KEY } from './keys.ts'
import { seedEnded, seedFleet, seedSimulator } from './seed.ts'
import { startBroker } from './server-process.ts'
import { percentile } from './stats.ts'
import { MASTER_KEY } from './vault.ts'

export type Storm = {
  connections: number
  scanners: number
  gitlabPerSecond: number
  /** What a GitLab of that rate takes for so many refreshes: no broker can be faster. */
  leastSeconds: number
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
  /** Of all scanners together: how long Retry-After made them sleep, as a share of their time. */
  asleep: number
}

const GIVE_UP_MS = 240_000
const ORGANIZATIONS = 100

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
  const gitlab = await seedSimulator(database.db, { requestsPerSecond: gitlabPerSecond })
  const { simulator } = gitlab
  await seedFleet(database.db, 0)
  const broker = await startBroker({ DATABASE_URL: database.url, MASTER_KEY })
  try {
    const { ids } = await seedEnded(database.db, gitlab, connections, ORGANIZATIONS)
    await database.settle()
    const storm = await drive(broker.origin, ids, scanners)
    const refreshes = simulator.world.events.filter(({ kind }) => kind === 'refreshed')
    const refreshed = new Set(refreshes.map(({ grantId }) => grantId)).size
    return {
      connections,
      scanners,
      gitlabPerSecond,
      leastSeconds: connections / gitlabPerSecond,
      ...storm,
      refreshed,
      refreshedTwice: refreshes.length - refreshed,
      rateLimitAnswers: simulator.requests.all().filter(({ status }) => status === 429).length,
    }
  } finally {
    await broker.stop()
    await simulator.close()
    await database.close()
  }
}

const drive = async (origin: string, ids: string[], scanners: number) => {
  const queue = ids.values()
  const answers: Record<string, number> = {}
  const latencies: number[] = []
  const started = performance.now()
  let withoutRetryAfter = 0
  let asleepMs = 0
  let firstAnswerMs = Number.POSITIVE_INFINITY

  const scanner = async () => {
    for (const id of queue) {
      while (performance.now() - started < GIVE_UP_MS) {
        const asked = performance.now()
        const response = await fetch(`${origin}/v1/connections/${id}/credential`, {
          headers: { authorization: `Bearer ${EVERY_KEY}` },
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
        asleepMs += Math.max(1, retryAfter) * 1000
        await sleep(Math.max(1, retryAfter) * 1000)
      }
    }
  }
  await Promise.all(Array.from({ length: scanners }, scanner))
  const seconds = (performance.now() - started) / 1000
  return {
    seconds,
    firstAnswerMs,
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    answers,
    withoutRetryAfter,
    asleep: asleepMs / 1000 / (seconds * scanners),
  }
}
