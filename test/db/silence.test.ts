import { sql } from 'kysely'
import t from 'tap'
import { isDatabaseUnavailable } from '../../src/db/database.ts'
import { openDatabase } from '../../src/db/open.ts'
import { createTestDatabase } from '../support/database.ts'
import { startProxy } from '../support/proxy.ts'

t.test(
  'a statement whose answer the network swallows fails, and its connection is not used again',
  async (t) => {
    const { url } = await createTestDatabase(t)
    const door = await startProxy(t, url)
    const database = openDatabase({ databaseUrl: door.url, dataDir: '', poolSize: 2, silenceLimitMs: 200 })
    t.teardown(() => database.close())
    const one = { name: 'one', text: 'select 1 as one' }
    t.same(await database.runPrepared(one, []), [{ one: 1 }])

    door.swallow()
    const error = await database.runPrepared(one, []).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    t.ok(isDatabaseUnavailable(error), String(error))
    t.same(await database.runPrepared(one, []), [{ one: 1 }], 'a new connection takes its place')
  },
)

t.test('a migration may be silent for longer than a statement', async (t) => {
  const { url } = await createTestDatabase(t)
  const database = openDatabase({ databaseUrl: url, dataDir: '', poolSize: 2, silenceLimitMs: 200 })
  t.teardown(() => database.close())
  const slow = { name: 'slow', text: 'select 1 as one from pg_sleep(0.6)' }
  await t.rejects(database.runPrepared(slow, []), { code: 'ETIMEDOUT' })
  t.same((await sql`select 1 as one from pg_sleep(0.6)`.execute(database.patientDb)).rows, [{ one: 1 }])
})
