import { PgBoss } from 'pg-boss'
import type { Logger } from 'pino'
import type { JobStore } from '../db/database.ts'
import type { Jobs } from './jobs.ts'

const EVERY_MINUTE = '* * * * *'
const EVERY_HOUR = '17 * * * *'
const JOB_LIMIT_SECONDS = 120
const KEPT_SECONDS = 3_600
const STOP_LIMIT_MS = 10_000

const PLAN: { queue: string; cron: string; job: keyof Jobs }[] = [
  { queue: 'mend-connections', cron: EVERY_MINUTE, job: 'mendConnections' },
  { queue: 'complete-grants', cron: EVERY_MINUTE, job: 'completeGrants' },
  { queue: 'rotate-due', cron: EVERY_HOUR, job: 'rotateDue' },
  { queue: 'delete-old', cron: EVERY_HOUR, job: 'deleteOld' },
]

export type Schedule = { stop(): Promise<void> }

/** Runs the jobs by pg-boss: each once a time, by whichever replica takes it. Its tables are in the schema pgboss. */
export const startSchedule = async (
  { db, backend }: { db: JobStore; backend: 'postgres' | 'pglite' },
  jobs: Jobs,
  logger: Logger,
): Promise<Schedule> => {
  const boss = new PgBoss({ db, backend, schema: 'pgboss', monitorVacuum: false, reindex: false })
  boss.on('error', (error) => logger.warn({ err: error }, 'background work failed'))
  await boss.start()
  for (const { queue, cron, job } of PLAN) {
    await boss.createQueue(queue, {
      policy: 'exclusive',
      retryLimit: 0,
      expireInSeconds: JOB_LIMIT_SECONDS,
      deleteAfterSeconds: KEPT_SECONDS,
      retentionSeconds: KEPT_SECONDS,
    })
    await boss.schedule(queue, cron)
    await boss.work(queue, async () => {
      await jobs[job]()
    })
  }
  return { stop: () => boss.stop({ close: false, graceful: true, timeout: STOP_LIMIT_MS }) }
}
