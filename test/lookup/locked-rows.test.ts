import { sql } from 'kysely'
import pg from 'pg'
import t from 'tap'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createTestDatabase } from '../support/database.ts'
import { lookUp, until } from '../support/lifecycle.ts'

/** Who waits for a lock: nobody but lookups does here. */
const WAITING = sql<{ pid: number }>`
  select pid from pg_stat_activity
  where datname = current_database() and wait_event_type = 'Lock'`

t.test('a connection that somebody holds locked', async (t) => {
  const database = await createTestDatabase(t)
  const stage = await setStage(t, { broker: { database } })
  const { broker, simulator } = stage
  const locked = await connectToken(stage, { group: 'acme' })
  const free = await connectToken(stage, { username: 'tom', group: 'acme/platform' })
  const somebody = new pg.Client({ connectionString: database.url })
  await somebody.connect()
  t.teardown(() => somebody.end())
  const lock = async () => {
    await somebody.query('begin')
    await somebody.query('select from connections where id = $1 for update', [locked.id])
  }
  const byUrl = (path: string) =>
    broker.get(`/v1/credentials?${new URLSearchParams({ url: `${simulator.url}/${path}` })}`)
  const areWaiting = async () => (await WAITING.execute(broker.db)).rows.length > 0
  const tokenOf = ({ id, token }: typeof locked) => ({ status: 200, body: { connection_id: id, token } })

  t.test('holds up no lookup of another', async (t) => {
    await lock()
    let answered = 0
    const waiting = Array.from({ length: 20 }, async (_, number) => {
      const answer = await (number % 2 ? lookUp(stage, locked.id) : byUrl('acme/web-shop'))
      answered += 1
      return answer
    })
    await until(areWaiting)
    for (let round = 0; round < 10; round += 1) {
      t.match(await lookUp(stage, free.id), tokenOf(free))
      t.match(await byUrl('acme/platform/api'), tokenOf(free))
      t.match(await broker.get('/v1/connections'), { status: 200 })
    }
    t.equal(answered, 0)
    await somebody.query('commit')
    for (const answer of await Promise.all(waiting)) t.match(answer, tokenOf(locked))
  })

  t.test('is not there any more when it was deleted meanwhile', async (t) => {
    const gone = await connectToken(stage, { username: 'tom', organization: 'globex' })
    await somebody.query('begin')
    await somebody.query('delete from connections where id = $1', [gone.id])
    const waiting = lookUp(stage, gone.id)
    await until(areWaiting)
    await somebody.query('commit')
    t.match(await waiting, { status: 404, body: { code: 'not_found' } })
  })

  t.test('costs those that want it an honest "later" when it takes too long', async (t) => {
    await lock()
    const waiting = [lookUp(stage, locked.id), byUrl('acme/web-shop')]
    let left = waiting.length
    for (const answer of waiting) answer.finally(() => (left -= 1))
    // As the limit for statements does.
    await until(async () => {
      for (const { pid } of (await WAITING.execute(broker.db)).rows)
        await somebody.query('select pg_cancel_backend($1)', [pid])
      return left === 0
    })
    for (const { status, body, headers } of await Promise.all(waiting)) {
      t.match({ status, body }, { status: 503, body: { code: 'database_unavailable' } })
      t.ok(Number(headers.get('retry-after')) > 0)
    }
    await somebody.query('rollback')
    t.match(await lookUp(stage, locked.id), tokenOf(locked))
  })
})

t.test('a transaction whose process is gone keeps its locks for ten seconds at the most', async (t) => {
  const { db } = await createTestDatabase(t)
  const { rows } = await sql`show idle_in_transaction_session_timeout`.execute(db)
  t.same(rows, [{ idle_in_transaction_session_timeout: '10s' }])
})
