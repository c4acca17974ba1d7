import { sql } from 'kysely'
import t from 'tap'
import { openDatabase } from '../../src/db/open.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createEmptyDatabase, createTestDatabase } from '../support/database.ts'
import { startPooler } from '../support/pooler.ts'
import { freePort } from '../support/postgres.ts'
import { startMain } from '../support/process.ts'

t.test('a pooler that was not announced is refused at the start, before anything is changed', async (t) => {
  for (const ignores of [false, true]) {
    const { url, db } = await createEmptyDatabase(t)
    const { code, errors } = await startMain(t, {
      DATA_DIR: t.testdir({}),
      DATABASE_URL: await startPooler(t, url, { ignores }),
      HOST: '127.0.0.1',
      PORT: String(await freePort()),
      MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
    }).ended
    t.equal(code, 1)
    t.match(errors, /^DATABASE_URL leads to a connection pooler .* Set DATABASE_POOLER=transaction/)
    const { rows } = await sql`select from pg_class where relnamespace = 'public'::regnamespace`.execute(db)
    t.same(rows, [])
  }
})

t.test('behind one that was announced, nothing outlives a transaction', async (t) => {
  const { url, db } = await createTestDatabase(t)
  const database = openDatabase({
    databaseUrl: await startPooler(t, url, { ignores: false }),
    databasePooler: 'transaction',
    dataDir: '',
    poolSize: 2,
  })
  t.teardown(() => database.close())
  const stage = await setStage(t, { broker: { database } })
  const { id } = await connectToken(stage)
  const lookUp = () => stage.broker.get(`/v1/connections/${id}/credential`)
  const answers = await Promise.all(Array.from({ length: 50 }, lookUp))
  t.same(new Set(answers.map(({ status }) => status)), new Set([200]))
  const prepared = { name: 'seen', text: 'select name, statement from pg_prepared_statements' }
  t.same(await database.runPrepared(prepared, []), [], 'no statement by name')
  const settings = sql`select name from pg_settings where source in ('client', 'session')
    and name not in ('client_encoding', 'application_name')`
  t.same((await settings.execute(database.db)).rows, [], 'no setting')
  const { rows } = await sql`select from pg_locks where locktype = 'advisory'`.execute(db)
  t.same(rows, [], 'no lock')
})
