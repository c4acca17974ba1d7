import { sql } from 'kysely'
import pg from 'pg'
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import type { RunPrepared } from '../../src/db/database.ts'
import { createClearClaims } from '../../src/token-lifecycle/claims/clear-claims.ts'
import { CLAIM_SECONDS } from '../../src/token-lifecycle/refresh-decision.ts'
import { setStage } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { connect, HALF_LIFE, lookUp, NO_TROUBLE, OUT, REFRESH, rowOf, until } from '../support/lifecycle.ts'
import { setListeningStage } from '../support/listening-stage.ts'

const HISTORY = {
  known: () => undefined,
  wentBackAt: () => undefined,
  suspect: () => undefined,
  requireSettled: () => undefined,
}
const WANTED = { knownVersion: 1, onConflict: 'respect', reason: 'past_half_life' } as const

t.test('a claim where nothing speaks against it', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const { db } = broker
  const { runPrepared } = broker.database
  const claim = createClearClaims({ db, runPrepared, clock, history: HISTORY })

  t.test('is written with the time of sending, and nothing else is changed', async (t) => {
    const id = await connect(stage)
    const before = await rowOf(stage, id)
    const claimed = await claim(id, WANTED)
    t.match(claimed, { row: before, sentAt: new Date(clock()) })
    t.match(claimed?.row, { instance_version: 1, oauth_app_version: 1 })
    t.same(await rowOf(stage, id), {
      ...before,
      attempt_id: claimed?.attemptId,
      attempt_kind: 'refresh',
      attempt_deadline: new Date(clock() + CLAIM_SECONDS * 1000),
      attempt_sent_at: new Date(clock()),
    })
  })

  t.test('goes to one of many that want it at once, and each connection is for itself', async (t) => {
    const ids = [await connect(stage), await connect(stage)]
    const claims = await Promise.all(
      [...ids, ...ids, ...ids, uuidv7()].map((id, index) =>
        claim(id, { ...WANTED, onConflict: index % 2 === 0 ? 'respect' : 'preempt' }),
      ),
    )
    const winners = claims.filter((claimed) => claimed !== undefined)
    t.same(winners.map(({ row }) => row.id).sort(), ids.toSorted())
    for (const { row, attemptId } of winners) t.match(await rowOf(stage, row.id), { attempt_id: attemptId })
  })

  t.test('passes over what somebody has locked, and waits for nobody', async (t) => {
    const [locked, free] = [await connect(stage), await connect(stage)]
    await db.transaction().execute(async (transaction) => {
      await transaction.selectFrom('connections').select('id').where('id', '=', locked).forShare().execute()
      const [none, one] = await Promise.all([claim(locked, WANTED), claim(free, WANTED)])
      t.equal(none, undefined)
      t.match(one, { row: { id: free } })
    })
    t.match(await rowOf(stage, locked), NO_TROUBLE)
  })

  t.test('whose answer was lost is given back: nothing was sent', async (t) => {
    const id = await connect(stage)
    const losing: RunPrepared = async (statement, values) => {
      await runPrepared(statement, values)
      t.match(await rowOf(stage, id), { attempt_kind: 'refresh', attempt_sent_at: new Date(clock()) })
      throw new Error('the connection broke')
    }
    const lost = createClearClaims({ db, runPrepared: losing, clock, history: HISTORY })
    await t.rejects(lost(id, WANTED), /the connection broke/)
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })

  t.test('is not given by a database that went back, which is suspected then', async (t) => {
    const id = await connect(stage)
    let suspected = 0
    const history = {
      ...HISTORY,
      known: () => ({ nodeId: uuidv7(), beat: 5 }),
      suspect: () => {
        suspected += 1
      },
    }
    const behind = createClearClaims({ db, runPrepared, clock, history })
    await t.rejects(behind(id, WANTED), { code: 'database_unavailable' })
    t.equal(suspected, 1)
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })
})

t.test('a lease that was given while a statement ran is seen by it', async (t) => {
  const { db, url } = await createTestDatabase(t)
  const [connection, key] = [uuidv7(), uuidv7()]
  const clients = [new pg.Client(url), new pg.Client(url)]
  t.teardown(() => Promise.all(clients.map((client) => client.end())))
  await Promise.all(clients.map((client) => client.connect()))
  const [holder, claimer] = clients
  await holder!.query('select pg_advisory_lock(1)')
  const ends = claimer!.query(
    `with waited as materialized (select pg_advisory_lock(1))
     select last_lease_end($1, 1, null, $2, '2026-11-02T10:30:00Z') as "end", (select count(*)::int from leases) as seen
     from waited`,
    [connection, uuidv7()],
  )
  await until(async () => {
    const { rows } = await sql`select from pg_locks where locktype = 'advisory' and not granted`.execute(db)
    return rows.length > 0
  })
  const until10 = new Date('2026-11-02T10:40:00Z')
  await db
    .insertInto('leases')
    .values({
      id: uuidv7(),
      connection_id: connection,
      organization: 'acme',
      token_version: 1,
      access_key_id: key,
      purpose: null,
      granted_at: new Date('2026-11-02T10:30:00Z'),
      expires_at: until10,
    })
    .execute()
  await holder!.query('select pg_advisory_unlock(1)')
  t.same((await ends).rows, [{ end: until10, seen: 0 }], 'the statement itself does not see it')
})

t.test('a refresh is three statements: claimed and marked, saved, leased', async (t) => {
  const { stage, seen } = await setListeningStage(t)
  const id = await connect(stage)
  stage.clock.advance(HALF_LIFE)
  const before = seen().length
  t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
  t.same(seen().slice(before), ['lease-by-id', 'claim-clear', 'save-free', 'lease-by-id'])
})

t.test('a process that dies between claim and sending leaves a doubt, not a dead token', async (t) => {
  const stage = await setStage(t)
  const { broker, clock, simulator } = stage
  const { db } = broker
  const { runPrepared } = broker.database
  const id = await connect(stage)
  clock.advance(OUT)
  t.ok(await createClearClaims({ db, runPrepared, clock, history: HISTORY })(id, WANTED))
  clock.advance(CLAIM_SECONDS)
  t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
  t.equal(simulator.requests.count(REFRESH), 1)
})
