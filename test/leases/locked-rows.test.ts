import { sql } from 'kysely'
import pg from 'pg'
import t from 'tap'
import { openDatabase } from '../../src/db/open.ts'
import { claimIf } from '../../src/token-lifecycle/claim.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createTestDatabase } from '../support/database.ts'
import { lookUp, until } from '../support/lifecycle.ts'

const UNKNOWN = '01900000-0000-7000-8000-00000000dead'

t.test('a connection that somebody holds locked', async (t) => {
  const { url } = await createTestDatabase(t)
  // As few connections as can be configured for lookups and everything else.
  const database = openDatabase({ databaseUrl: url, dataDir: '', poolSize: 2 })
  t.teardown(() => database.close())
  const stage = await setStage(t, { broker: { database } })
  const { broker, simulator, clock } = stage
  const locked = await connectToken(stage, { group: 'acme' })
  const free = await connectToken(stage, { username: 'tom', group: 'acme/platform' })
  const somebody = new pg.Client({ connectionString: url })
  await somebody.connect()
  t.teardown(() => somebody.end())
  const lock = async (id: string) => {
    await somebody.query('begin')
    await somebody.query('select from connections where id = $1 for update', [id])
  }
  const byUrl = (path: string, key?: string) =>
    broker.get(
      `/v1/credentials?${new URLSearchParams({ organization: 'acme', url: `${simulator.url}/${path}` })}`,
      key === undefined ? {} : { key },
    )
  const tokenOf = ({ id, token }: typeof locked) => ({ status: 200, body: { connection_id: id, token } })
  /** Lookups of the locked connection, by id and by URL. */
  const lookUpLocked = (key?: string) => {
    let answered = 0
    const answers = Array.from({ length: 20 }, async (_, number) => {
      const answer = await (number % 2 ? lookUp(stage, locked.id, {}, key) : byUrl('acme/web-shop', key))
      answered += 1
      return answer
    })
    return { answers: Promise.all(answers), answered: () => answered }
  }

  t.test('holds up no lookup of another, nor a change of it', async (t) => {
    t.match(await byUrl('acme/web-shop'), tokenOf(locked), 'the group is known')
    await lock(locked.id)
    const { answers, answered } = lookUpLocked()
    for (let round = 0; round < 5; round += 1) {
      t.match(await lookUp(stage, free.id), tokenOf(free))
      t.match(await byUrl('acme/platform/api'), tokenOf(free))
      t.match(await lookUp(stage, UNKNOWN), { status: 404 })
      t.match(await broker.get('/v1/connections'), { status: 200 })
      await claimIf({ db: broker.db, clock }, free.id, 'refresh', () => 'left alone')
    }
    t.equal(answered(), 0)
    await somebody.query('commit')
    for (const answer of await answers) t.match(answer, tokenOf(locked))
  })

  t.test('is not there any more when it was deleted meanwhile', async (t) => {
    const gone = await connectToken(stage, { username: 'tom', organization: 'globex' })
    await somebody.query('begin')
    await somebody.query('delete from connections where id = $1', [gone.id])
    const answer = lookUp(stage, gone.id)
    t.match(await lookUp(stage, free.id), tokenOf(free))
    await somebody.query('commit')
    t.match(await answer, { status: 404, body: { code: 'not_found' } })
  })

  t.test('is nothing for a key that was deleted meanwhile', async (t) => {
    const key = await broker.createKey('scanner', ['acme'])
    t.match(await lookUp(stage, locked.id, {}, key), { status: 200 }, 'the key is known')
    await lock(locked.id)
    const { answers, answered } = lookUpLocked(key)
    await broker.db.deleteFrom('access_keys').where('name', '=', 'a scanner').execute()
    await until(() => answered() === 20)
    for (const answer of await answers) t.match(answer, { status: 401, body: { code: 'unauthorized' } })
    await somebody.query('rollback')
  })

  t.test('costs those that want it an honest "later" when it takes too long', async (t) => {
    await lock(locked.id)
    for (const { status, body, headers } of await lookUpLocked().answers) {
      t.match({ status, body }, { status: 503, body: { code: 'database_unavailable' } })
      t.ok(Number(headers.get('retry-after')) > 0)
    }
    await somebody.query('rollback')
    t.match(await lookUp(stage, locked.id), tokenOf(locked))
  })

  t.test('does not hold a connection of those who want to change it', async (t) => {
    await lock(locked.id)
    const changed = await broker.request('PATCH', `/v1/connections/${locked.id}`, { body: { name: 'mine' } })
    t.match(changed, { status: 503, body: { code: 'database_unavailable' } })
    await somebody.query('rollback')
  })
})

t.test('a transaction whose process is gone keeps its locks for ten seconds at the most', async (t) => {
  const { db } = await createTestDatabase(t)
  const { rows } = await sql`show idle_in_transaction_session_timeout`.execute(db)
  t.same(rows, [{ idle_in_transaction_session_timeout: '10s' }])
})
