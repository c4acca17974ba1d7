import { sql, type Updateable } from 'kysely'
import pg from 'pg'
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import type { Database, PreparedStatement, RunPrepared } from '../../src/db/database.ts'
import type { Tables } from '../../src/db/tables.ts'
import { createClearClaims } from '../../src/token-lifecycle/claims/clear-claims.ts'
import { mayHaveGoneBack } from '../../src/token-lifecycle/history/suspicion.ts'
import { CLAIM_SECONDS } from '../../src/token-lifecycle/refresh-decision.ts'
import { saveWhereFree } from '../../src/token-lifecycle/saves/queries.ts'
import { createSharedSaves } from '../../src/token-lifecycle/saves/shared-saves.ts'
import { type Stage, setStage } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  connect,
  createReplica,
  HALF_LIFE,
  lookUp,
  NO_TROUBLE,
  OUT,
  REFRESH,
  rowOf,
  until,
} from '../support/lifecycle.ts'
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
    await until(async () => (await rowOf(stage, id)).attempt_id === null)
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })

  t.test('is not asked for while the database may have gone back', async (t) => {
    const id = await connect(stage)
    const history = {
      ...HISTORY,
      requireSettled: () => {
        throw mayHaveGoneBack()
      },
    }
    const waiting = createClearClaims({ db, runPrepared, clock, history })
    await t.rejects(waiting(id, WANTED), { code: 'database_unavailable' })
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

/** What happens to a connection while a statement that has begun is held up before it locks the row. */
const WHILE_IT_WAITS: [what: string, isClaimed: boolean, (stage: Stage, id: string) => Promise<unknown>][] = [
  ['nothing happens', true, async () => undefined],
  ['a scanner gets a lease', false, (stage, id) => lookUp(stage, id)],
  ['another writer claims it', false, ({ broker }, id) => change(broker.db, id, { attempt_id: uuidv7() })],
  ['the token is replaced', false, ({ broker }, id) => change(broker.db, id, { token_version: 2 })],
  ['an owner is revoked', false, ({ broker }, id) => change(broker.db, id, { status: 'revoked' })],
  ['keys are rotated', true, ({ broker }, id) => change(broker.db, id, { access_token: 'sealed anew' })],
]

const change = (db: Database, id: string, changes: Updateable<Tables['connections']>) =>
  db.updateTable('connections').set(changes).where('id', '=', id).execute()

t.test('a claim goes by the row and the leases as they are once the row is locked', async (t) => {
  const database = await createTestDatabase(t)
  const { db, url } = database
  const stage = await setStage(t, { broker: { database } })
  const { clock } = stage
  const [holder, claimer] = [new pg.Client(url), new pg.Client(url)]
  t.teardown(() => Promise.all([holder.end(), claimer.end()]))
  await Promise.all([holder.connect(), claimer.connect()])
  await claimer.query('set plan_cache_mode = force_generic_plan')
  await sql`create function is_let_through() returns boolean language plpgsql volatile as $$
    begin perform pg_advisory_xact_lock(1); return true; end $$`.execute(db)
  const heldUp: RunPrepared = async <Row>({ name, text }: PreparedStatement, values: unknown[]) => {
    const held = text.replace('id = any ($4::uuid[])', 'id = any ($4::uuid[]) and is_let_through()')
    t.not(held, text)
    return (await claimer.query({ name, text: held, values })).rows as Row[]
  }
  const claim = createClearClaims({ db, runPrepared: heldUp, clock, history: HISTORY })
  for (const [what, isClaimed, happen] of WHILE_IT_WAITS) {
    const id = await connect(stage)
    await holder.query('select pg_advisory_lock(1)')
    const claiming = claim(id, WANTED)
    await until(async () => {
      const { rows } = await sql`select from pg_locks where locktype = 'advisory' and not granted`.execute(db)
      return rows.length > 0
    })
    await happen(stage, id)
    const now = await rowOf(stage, id)
    await holder.query('select pg_advisory_unlock(1)')
    const claimed = await claiming
    t.equal(claimed !== undefined, isClaimed, what)
    if (claimed) t.match(claimed.row, now, 'the row as it is, not as it was')
    t.equal((await rowOf(stage, id)).attempt_id, claimed?.attemptId ?? now.attempt_id)
  }
})

t.test('a writer that is held up after the claim sends nothing that another has sent', async (t) => {
  const { stage, after } = await setListeningStage(t)
  const { clock, simulator } = stage
  const id = await connect(stage)
  const { refresh } = await createReplica(t, stage)
  clock.advance(OUT)
  simulator.requests.clear()
  after('claim-clear', async () => {
    clock.advance(CLAIM_SECONDS)
    t.same(await refresh(id, { ...WANTED, reason: 'in_doubt' }), { kind: 'newer_version' })
  })
  t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
  t.equal(simulator.requests.count(REFRESH), 1)
  t.match(await rowOf(stage, id), NO_TROUBLE)
})

t.test('a writer that is held up after the claim, and alone, marks anew what it sends', async (t) => {
  const { stage, after } = await setListeningStage(t)
  const { clock, simulator } = stage
  const id = await connect(stage)
  clock.advance(OUT)
  after('claim-clear', async () => clock.advance(20))
  simulator.faults.add({ match: REFRESH, effect: { kind: 'cut-after' } })
  t.match(await lookUp(stage, id), { status: 503 })
  t.same((await rowOf(stage, id)).unanswered_since, new Date(clock()), 'GitLab may act from now on')

  const late = await connect(stage)
  const { refresh } = await createReplica(t, stage)
  after('claim-clear', async () => clock.advance(CLAIM_SECONDS))
  simulator.requests.clear()
  t.same(await refresh(late, WANTED), { kind: 'read_again' }, 'the claim is past its deadline')
  t.match(await rowOf(stage, late), NO_TROUBLE, 'and leaves no doubt')
  t.equal(simulator.requests.count(REFRESH), 0)
})

t.test(
  'a save passes over locked rows, and over those whose saving writes more, and waits for nobody',
  async (t) => {
    const stage = await setStage(t)
    const { broker, clock } = stage
    const { db } = broker
    const { runPrepared } = broker.database
    const ids = [await connect(stage), await connect(stage), await connect(stage), await connect(stage)]
    const [locked, , scoped, regranted] = ids
    const tokens = await Promise.all(
      ids.map(async (id) => {
        const { token_version, access_token, refresh_token, scopes, grant_id } = await rowOf(stage, id)
        const times = { token_issued_at: new Date(clock()), token_expires_at: null }
        const token = { ...times, token_version: token_version + 1, access_token, refresh_token }
        return {
          connectionId: id,
          grantId: id === regranted ? uuidv7() : grant_id!,
          token: { ...token, scopes: id === scoped ? ['read_user'] : scopes },
          tokenHash: undefined,
        }
      }),
    )
    await db.transaction().execute(async (transaction) => {
      await transaction.selectFrom('connections').select('id').where('id', '=', locked!).forShare().execute()
      t.same(await saveWhereFree(runPrepared, tokens), [false, true, false, false])
    })
    const save = createSharedSaves({ db, runPrepared })
    t.same(
      await Promise.all(tokens.map(save)),
      [true, false, true, true],
      'the statement that waits saves the rest',
    )
  },
)

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
