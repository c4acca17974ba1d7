import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { PgBoss } from 'pg-boss'
import t, { type Test } from 'tap'
import type { OpenDatabase } from '../../src/db/database.ts'
import { openDatabase } from '../../src/db/open.ts'
import type { Jobs } from '../../src/jobs/jobs.ts'
import { startSchedule } from '../../src/jobs/schedule.ts'
import { createLogger } from '../../src/log.ts'
import { createEmptyDatabase } from '../support/database.ts'
import { until } from '../support/lifecycle.ts'

type Job = Exclude<keyof Jobs, 'stop'>

const QUEUES: Record<string, Job> = {
  'mend-connections': 'mendConnections',
  'complete-grants': 'completeGrants',
  'rotate-due': 'rotateDue',
  'look-at-names': 'lookAtNames',
  'sync-projects': 'syncProjects',
  'delete-old': 'deleteOld',
  'note-lease-slots': 'noteLeaseSlots',
  'seal-audit': 'sealAudit',
  'renew-data-key': 'renewDataKey',
}

/** Jobs that only say that they ran. */
const createRecord = () => {
  const ran: string[] = []
  const record = (name: Job) => async () => void ran.push(name)
  const jobs: Jobs = {
    mendConnections: record('mendConnections'),
    rotateDue: record('rotateDue'),
    lookAtNames: record('lookAtNames'),
    completeGrants: record('completeGrants'),
    deleteOld: record('deleteOld'),
    syncProjects: record('syncProjects'),
    noteLeaseSlots: record('noteLeaseSlots'),
    sealAudit: record('sealAudit'),
    renewDataKey: record('renewDataKey'),
    stop: async () => undefined,
  }
  return { ran, jobs }
}

/** Another pg-boss beside the one of the schedule, once that has begun: with it a job can be sent ahead of its time. */
const joinSchedule = async ({ db, jobStore, kind }: OpenDatabase): Promise<PgBoss> => {
  const planned = sql<{ count: string }>`select count(*) from pgboss.schedule`
  const countPlanned = async () => Number((await planned.execute(db)).rows[0]?.count)
  await until(async () => (await countPlanned().catch(() => 0)) === Object.keys(QUEUES).length)
  const backend = kind === 'embedded' ? 'pglite' : 'postgres'
  const boss = new PgBoss({ db: jobStore, backend, schema: 'pgboss', supervise: false, schedule: false })
  await boss.start()
  return boss
}

const runsEverything = async (t: Test, database: OpenDatabase): Promise<void> => {
  const backend = database.kind === 'embedded' ? 'pglite' : 'postgres'
  const { ran, jobs } = createRecord()
  const logLines: string[] = []
  const logger = createLogger('warn', { write: (line: string) => void logLines.push(line) })
  const schedule = startSchedule({ db: database.jobStore, backend }, jobs, logger)
  const boss = await joinSchedule(database)
  const plan = Object.fromEntries((await boss.getSchedules()).map(({ name, cron }) => [name, cron]))
  t.same(plan, {
    'mend-connections': '* * * * *',
    'complete-grants': '* * * * *',
    'rotate-due': '17 * * * *',
    'look-at-names': '* * * * *',
    'sync-projects': '* * * * *',
    'delete-old': '17 * * * *',
    'note-lease-slots': '* * * * *',
    'seal-audit': '* * * * *',
    'renew-data-key': '17 * * * *',
  })
  for (const queue of Object.keys(QUEUES)) t.ok(await boss.send(queue, {}), queue)
  await until(() => ran.length === Object.keys(QUEUES).length)
  t.same(ran.sort(), Object.values(QUEUES).sort())
  await boss.stop({ close: false, graceful: false })
  await schedule.stop()
  t.same(logLines, [])
}

t.test('the plan is carried out on PostgreSQL', async (t) => {
  await runsEverything(t, await createEmptyDatabase(t))
})

t.test('and on the embedded database', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-jobs-'))
  const database = openDatabase({ databaseUrl: undefined, dataDir, poolSize: 1 })
  t.teardown(async () => {
    await database.close()
    await rm(dataDir, { recursive: true, force: true })
  })
  await runsEverything(t, database)
})

t.test(
  'a job runs once at a time, on whichever replica takes it, and its failure ends nothing',
  async (t) => {
    const database = await createEmptyDatabase(t)
    const { promise, resolve } = Promise.withResolvers<void>()
    let running = 0
    let most = 0
    let ended = 0
    const { jobs } = createRecord()
    const slow: Jobs = {
      ...jobs,
      async mendConnections() {
        running += 1
        most = Math.max(most, running)
        await promise
        running -= 1
        ended += 1
        if (ended === 1) throw new Error('the first one fails')
      },
    }
    const start = () =>
      startSchedule({ db: database.jobStore, backend: 'postgres' }, slow, createLogger('silent'))
    const replicas = [start(), start()]
    const boss = await joinSchedule(database)
    t.ok(await boss.send('mend-connections', {}))
    await until(() => running === 1)
    t.equal(await boss.send('mend-connections', {}), null, 'what runs already is not queued once more')
    resolve()
    await until(() => ended === 1)
    await until(async () => (await boss.send('mend-connections', {})) !== null)
    await until(() => ended === 2)
    t.equal(most, 1)
    await boss.stop({ close: false, graceful: false })
    await Promise.all(replicas.map((replica) => replica.stop()))
  },
)
