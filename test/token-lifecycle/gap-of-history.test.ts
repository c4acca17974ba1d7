import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createLineage } from '../../src/db/lineage.ts'
import type { ConnectionRow } from '../../src/db/tables.ts'
import { CALLS_AT_ONCE } from '../../src/gitlab/guard.ts'
import { createSuspicion } from '../../src/token-lifecycle/history/suspicion.ts'
import { setStage, startTestBroker } from '../support/broker.ts'
import { createFakeClock } from '../support/clock.ts'
import { connectToken } from '../support/connect.ts'
import { createTestDatabase } from '../support/database.ts'
import { connect, HALF_LIFE, lookUp, NO_TROUBLE, OUT, REFRESH, rowOf, until } from '../support/lifecycle.ts'

const GONE_BACK = { status: 503, body: { code: 'database_unavailable', detail: /gone back/ } }

const node = async (t: Test) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-gap-'))
  t.teardown(() => rm(dataDir, { recursive: true, force: true }))
  return { dataDir, retained: () => readdir(join(dataDir, 'spool', 'saved')).catch((): string[] => []) }
}

/** Two replicas, the first of which has refreshed; `goBack` takes the database to before that. */
const setScene = async (t: Test, { heartbeats }: { heartbeats: boolean }) => {
  const clock = createFakeClock()
  const opened = await createTestDatabase(t)
  const lineage = createLineage()
  lineage.found('1/00000001')
  const database = { ...opened, lineage }
  const [first, second] = [await node(t), await node(t)]
  const stage = await setStage(t, { broker: { clock, database, config: { dataDir: first.dataDir } } })
  const other = await startTestBroker(t, { clock, database, config: { dataDir: second.dataDir } })
  const check = async () => {
    await stage.broker.history.check()
    await other.history.check()
  }
  await check()
  const id = await connect(stage)
  const { id: pasted } = await connectToken(stage, { scopes: ['read_repository', 'self_rotate'] })
  const { db } = stage.broker
  const rows = await db.selectFrom('connections').selectAll().execute()
  const beats = await db.selectFrom('heartbeats').selectAll().execute()
  await check()
  clock.advance(HALF_LIFE)
  t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
  t.match(await stage.broker.post(`/v1/connections/${pasted}/rotate`), { status: 200 })
  await until(async () => (await first.retained()).length === 2)
  const goBack = async () => {
    await db.deleteFrom('connections').execute()
    await db.deleteFrom('leases').execute()
    await db
      .insertInto('connections')
      .values(rows as ConnectionRow[])
      .execute()
    if (!heartbeats) return lineage.found('1/00000002')
    await db.deleteFrom('heartbeats').execute()
    await db.insertInto('heartbeats').values(beats).execute()
  }
  return { stage, other, id, pasted, check, goBack }
}

t.test('the lookup that follows a restore at once gets no dead token, on whichever replica', async (t) => {
  const { stage, other, id, goBack } = await setScene(t, { heartbeats: true })
  await goBack()
  stage.simulator.requests.clear()
  t.match(await lookUp({ broker: other }, id), GONE_BACK, 'the other replica never saw the token')
  t.equal(stage.simulator.requests.count(REFRESH), 0)
  t.equal((await stage.broker.db.selectFrom('leases').selectAll().execute()).length, 0, 'nothing is leased')
  t.match(await lookUp(stage, id), GONE_BACK)
  for (const broker of [stage.broker, other]) {
    await until(async () => (await lookUp({ broker }, id)).status === 200)
    const { body } = await lookUp({ broker }, id)
    t.equal(body.token_version, 2)
    t.equal(stage.simulator.world.tokenState(body.token), 'active')
  }
})

t.test(
  'after a failover nothing is handed out until each replica has offered what it retained',
  async (t) => {
    const { stage, other, id, goBack } = await setScene(t, { heartbeats: false })
    await goBack()
    t.match(await lookUp({ broker: other }, id), GONE_BACK)
    t.match(await lookUp(stage, id), GONE_BACK)
    await until(async () => (await lookUp({ broker: other }, id)).status === 200)
    const { body } = await lookUp({ broker: other }, id)
    t.equal(stage.simulator.world.tokenState(body.token), 'active')
    t.ok(other.history.wentBackAt() ?? stage.broker.history.wentBackAt(), 'and it is known')
  },
)

t.test('a token that may have a successor is neither refreshed nor rotated', async (t) => {
  const { stage, other, id, pasted } = await setScene(t, { heartbeats: true })
  const { broker, simulator } = stage
  simulator.requests.clear()
  broker.history.suspect()
  await broker.history.check()
  const refresh = () => broker.post(`/v1/connections/${id}/refresh?on_conflict=preempt`)
  t.match(await broker.post(`/v1/connections/${pasted}/rotate`), GONE_BACK)
  t.match(await refresh(), GONE_BACK)
  t.equal(simulator.requests.count({ method: 'POST' }), 0)
  await other.history.check()
  await until(async () => (await refresh()).status === 200)
  t.match(await broker.post(`/v1/connections/${pasted}/rotate`), { status: 200 }, 'no claim is left behind')
})

for (const what of ['refresh', 'rotation'] as const)
  t.test(`a ${what} without a lookup finds that the database went back, and spends nothing`, async (t) => {
    const { stage, other, id, pasted, goBack } = await setScene(t, { heartbeats: true })
    const { simulator } = stage
    const path = `/v1/connections/${what === 'refresh' ? `${id}/refresh?on_conflict=preempt` : `${pasted}/rotate`}`
    await goBack()
    simulator.requests.clear()
    t.match(await other.post(path), GONE_BACK, 'another node has the successor')
    t.equal(simulator.requests.count({ method: 'POST' }), 0)
    await stage.broker.history.check()
    await until(async () => (await other.post(path)).status === 200)
    t.same(
      simulator.world.events.filter(({ kind }) => kind.startsWith('replay')),
      [],
    )
  })

for (const what of ['refresh', 'rotation'] as const)
  t.test(`a ${what} that waits for its turn is not sent when the database may have gone back`, async (t) => {
    const { stage, other, id, pasted } = await setScene(t, { heartbeats: true })
    const { broker, simulator } = stage
    const { promise: freed, resolve: free } = Promise.withResolvers<void>()
    const probe = { path: '/api/v4/personal_access_tokens/self' }
    simulator.faults.add({ match: probe, times: CALLS_AT_ONCE, effect: { kind: 'hold', until: freed } })
    simulator.requests.clear()
    const asking = Array.from({ length: CALLS_AT_ONCE }, () => connectToken(stage, { organization: 'other' }))
    await until(() => simulator.requests.count(probe) === CALLS_AT_ONCE)
    const path = `/v1/connections/${what === 'refresh' ? `${id}/refresh?on_conflict=preempt` : `${pasted}/rotate`}`
    const waiting = broker.post(path)
    const subject = what === 'refresh' ? id : pasted
    await until(async () => (await rowOf(stage, subject)).attempt_sent_at !== null)
    broker.history.suspect()
    free()
    t.match(await waiting, GONE_BACK)
    await Promise.all(asking)
    t.equal(simulator.requests.count(what === 'refresh' ? REFRESH : { method: 'POST' }), 0)
    t.match(await rowOf(stage, subject), NO_TROUBLE)
    await other.history.check()
    await until(async () => (await broker.post(path)).status === 200)
  })

t.test(
  'a broker that ends while the database goes back saves its answers, gives back what it has, and hands out nothing dead',
  async (t) => {
    const { stage, other, id, pasted, goBack } = await setScene(t, { heartbeats: true })
    const { broker, simulator, clock } = stage
    clock.advance(OUT)
    const { promise: answered, resolve: answer } = Promise.withResolvers<void>()
    simulator.faults.add({ match: REFRESH, effect: { kind: 'hold-after', until: answered } })
    const refreshed = () => simulator.world.events.filter(({ kind }) => kind === 'refreshed').length
    const before = refreshed()
    const asking = lookUp(stage, id).catch(() => undefined)
    await until(() => refreshed() > before)
    const closed = broker.close()
    await goBack()
    answer()
    await closed
    const asked = await asking
    if (asked?.status === 200) t.equal(simulator.world.tokenState(asked.body.token), 'active')

    for (const [subject, version] of [
      [id, 3],
      [pasted, 2],
    ] as const) {
      t.match(await rowOf({ broker: other }, subject), { token_version: version })
      await until(async () => {
        const { status, body } = await lookUp({ broker: other }, subject)
        if (status === 200) t.equal(simulator.world.tokenState(body.token), 'active', 'no dead token')
        return status === 200
      })
    }
    t.same(
      simulator.world.events.filter(({ kind }) => kind.startsWith('replay')),
      [],
    )
  },
)

t.test('a broker that ends right after the database went back gives back what it has first', async (t) => {
  const { stage, other, id, pasted, goBack } = await setScene(t, { heartbeats: true })
  await goBack()
  await stage.broker.close()
  for (const subject of [id, pasted]) {
    t.match(await rowOf({ broker: other }, subject), { token_version: 2 })
    await until(async () => (await lookUp({ broker: other }, subject)).status === 200)
    const { body } = await lookUp({ broker: other }, subject)
    t.equal(stage.simulator.world.tokenState(body.token), 'active')
  }
})

t.test('a real database tells its lineage, and keeps it', async (t) => {
  const { lineage, readFacts } = await createTestDatabase(t)
  let changes = 0
  lineage.onChange(() => {
    changes += 1
  })
  await readFacts()
  t.match(lineage.current(), /^\d+\/[0-9A-F]{8}$/)
  await Promise.all(Array.from({ length: 5 }, readFacts))
  t.equal(changes, 0)
})

t.test('who has not counted is waited for, but not for ever', async (t) => {
  let nowMs = 0
  const suspicion = createSuspicion(() => nowMs)
  const others = [{ nodeId: 'other', beat: 7 }]
  t.doesNotThrow(suspicion.requireNone)
  suspicion.begin()
  t.throws(suspicion.requireNone, { code: 'database_unavailable' })
  t.notOk(suspicion.haveOthersCounted(others), 'before it looked')
  suspicion.sees(others)
  suspicion.sees([])
  t.notOk(suspicion.haveOthersCounted(others))
  t.notOk(suspicion.haveOthersCounted([]))
  t.ok(suspicion.haveOthersCounted([{ nodeId: 'other', beat: 8 }]))
  nowMs = 15_001
  t.ok(suspicion.haveOthersCounted(others))
  suspicion.begin()
  t.notOk(suspicion.haveOthersCounted(others), 'a new suspicion begins anew')
  suspicion.end()
  t.doesNotThrow(suspicion.requireNone)
})
