import { ExponentialBackoff, handleAll, retry } from 'cockatiel'
import type { PgBoss } from 'pg-boss'
import type { Logger } from 'pino'
import { isDatabaseUnavailable, type JobStore } from '../db/database.ts'
import { type Jobs, TIMETABLE } from './jobs.ts'

const JOB_LIMIT_SECONDS = 120
const KEPT_SECONDS = 3_600
const STOP_LIMIT_MS = 10_000
const FIRST_RETRY_MS = 250
/** Short, because a shutdown waits for the end of a pause. */
const LONGEST_RETRY_MS = 2_000

export type Schedule = { stop(): Promise<void> }

type Options = { db: JobStore; backend: 'postgres' | 'pglite' }

/**
 * Runs the jobs by pg-boss: each time one replica takes the job. The tables of pg-boss are in the schema pgboss. The
 * start is tried again until it succeeds: a database that fails at that moment must not leave the process without
 * jobs.
 */
export const startSchedule = (options: Options, jobs: Jobs, logger: Logger): Schedule => {
  const stopping = new AbortController()
  const untilBegun = retry(handleAll, {
    maxAttempts: Number.POSITIVE_INFINITY,
    backoff: new ExponentialBackoff({ initialDelay: FIRST_RETRY_MS, maxDelay: LONGEST_RETRY_MS }),
  })
  untilBegun.onRetry((failure) => {
    const error = 'error' in failure ? failure.error : undefined
    logger[levelOf(error)]({ err: error }, 'background work does not begin yet')
  })
  const begun = untilBegun.execute(() => begin(options, jobs, logger), stopping.signal).catch(() => undefined)
  return {
    async stop() {
      stopping.abort()
      const boss = await begun
      await boss?.stop({ close: false, graceful: true, timeout: STOP_LIMIT_MS })
    },
  }
}

const QUEUE = {
  policy: 'exclusive',
  retryLimit: 0,
  expireInSeconds: JOB_LIMIT_SECONDS,
  deleteAfterSeconds: KEPT_SECONDS,
  retentionSeconds: KEPT_SECONDS,
} as const

/** Makes the tables of pg-boss and our queues in them, for a service whose role may make no table. */
export const installSchedule = async ({ db, backend }: Options): Promise<void> => {
  const { PgBoss } = await import('pg-boss')
  const boss = new PgBoss({ db, backend, schema: 'pgboss', supervise: false, schedule: false })
  await boss.start()
  try {
    for (const { queue } of TIMETABLE) await boss.createQueue(queue, QUEUE)
  } finally {
    await boss.stop({ close: false, graceful: false })
  }
}
/** An outage of the database is logged once, where it is seen. */
const levelOf = (error: unknown): 'debug' | 'warn' => (isDatabaseUnavailable(error) ? 'debug' : 'warn')

const begin = async ({ db, backend }: Options, jobs: Jobs, logger: Logger): Promise<PgBoss> => {
  // Loaded after serving has begun: pg-boss is a tenth of all code.
  const { PgBoss } = await import('pg-boss')
  const boss = new PgBoss({ db, backend, schema: 'pgboss', monitorVacuum: false, reindex: false })
  boss.on('error', (error) => logger[levelOf(error)]({ err: error }, 'background work failed'))
  try {
    await boss.start()
    for (const { queue, cron, job } of TIMETABLE) {
      await boss.createQueue(queue, QUEUE)
      await boss.schedule(queue, cron)
      await boss.work(queue, async () => {
        await jobs[job]()
      })
    }
    return boss
  } catch (error) {
    // Stop the half-started one before the retry.
    await boss.stop({ close: false, graceful: false }).catch(() => undefined)
    throw error
  }
}
