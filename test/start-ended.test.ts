import { createHook } from 'node:async_hooks'
import { sql } from 'kysely'
import t from 'tap'
import { readConfig } from '../src/config/config.ts'
import { createLogger } from '../src/log.ts'
import { type OpenedBroker, openBroker } from '../src/start.ts'
import { createEmptyDatabase } from './support/database.ts'
import { freePort } from './support/postgres.ts'

t.test('a start that is told to end while it migrates begins no background work', async (t) => {
  const { url, db } = await createEmptyDatabase(t)
  /** Timers of the watch, by who made them: they hold no process, so nothing else shows them. */
  let watches = 0
  const hook = createHook({
    init(_id, type) {
      if (type === 'Timeout' && new Error().stack?.includes('watch-history')) watches += 1
    },
  }).enable()
  t.teardown(() => hook.disable())
  const env = {
    DATABASE_URL: url,
    DATA_DIR: t.testdir({}),
    PORT: String(await freePort()),
    HOST: '127.0.0.1',
    MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
    BOOTSTRAP_ADMIN_KEY: 'FAKE-admin-key-0123456789-0123456789',
  }
  const schedules = async () =>
    (await sql<{ made: boolean }>`select to_regnamespace('pgboss') is not null as made`.execute(db)).rows[0]!
      .made

  let broker: OpenedBroker | undefined
  let closing: Promise<void> | undefined
  const write = (line: string) => {
    // The steps after the migration still have the database: the end is announced for a while.
    if (line.includes('"msg":"database migrated"')) closing = broker?.close({ delaySeconds: 2 })
  }
  broker = await openBroker(readConfig(env), createLogger('debug', { write }))
  await broker.ready
  t.ok(closing, 'it was told to end before it was ready')
  t.equal(watches, 0)
  await closing
  t.equal(await schedules(), false)

  watches = 0
  const second = await openBroker(readConfig(env), createLogger('silent'))
  await second.ready
  t.equal(watches, 1, 'a start that is left alone watches')
  await second.close()
})
