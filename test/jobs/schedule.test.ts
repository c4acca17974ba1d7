import { PgBoss } from 'pg-boss'
import t from 'tap'
import { openDatabase } from '../../src/db/database.ts'
import { startSchedule } from '../../src/jobs/schedule.ts'
import { createLogger } from '../../src/log.ts'
import { until } from '../support/lifecycle.ts'
import { startCluster } from '../support/postgres.ts'

t.test('background work begins although the database is away when the process starts', async (t) => {
  const cluster = await startCluster()
  t.teardown(() => cluster.stop())
  const database = openDatabase({ databaseUrl: cluster.url, dataDir: '', poolSize: 5 })
  t.teardown(() => database.close())
  const logLines: string[] = []
  const logger = createLogger('info', { write: (line: string) => void logLines.push(line) })
  let ran = 0
  const nothing = async () => {}
  const jobs = {
    mendConnections: async () => {
      ran += 1
    },
    rotateDue: nothing,
    completeGrants: nothing,
    deleteOld: nothing,
  }

  await cluster.halt('shut down')
  const schedule = startSchedule({ db: database.jobStore, backend: 'postgres' }, jobs, logger)
  await until(() => logLines.some((line) => line.includes('does not begin yet')))
  await cluster.resume()

  // What the clock would send at the next minute.
  const sender = new PgBoss({ db: database.jobStore, schema: 'pgboss', supervise: false, schedule: false })
  await sender.start()
  await until(async () => (await sender.getQueue('mend-connections')) !== null)
  await sender.send('mend-connections')
  await until(() => ran > 0)
  await sender.stop({ close: false })
  await schedule.stop()
  t.equal(ran, 1)
})
