import { mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createLineage } from '../../src/db/lineage.ts'
import type { ConnectionRow } from '../../src/db/tables.ts'
import { createLogger } from '../../src/log.ts'
import { saveWentBack } from '../../src/token-lifecycle/history/queries.ts'
import { createDatabaseHistory } from '../../src/token-lifecycle/history/watch-history.ts'
import { type Stage, setStage, startTestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, HALF_LIFE, lookUp, NO_TROUBLE, OUT, REFRESH, rowOf, until } from '../support/lifecycle.ts'

const served = (version: number) => ({ status: 200, body: { token_version: version } })

const setScene = async (t: Test) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-went-back-'))
  t.teardown(() => rm(dataDir, { recursive: true, force: true }))
  const stage = await setStage(t, { broker: { config: { dataDir } } })
  const retained = () => readdir(join(dataDir, 'spool', 'saved')).catch((): string[] => [])
  return { stage, dataDir, retained }
}

/** What a backup holds of the tables that matter here, put back later. */
const backUp = async ({ broker }: Stage) => {
  const { db } = broker
  const rows = await db.selectFrom('connections').selectAll().execute()
  const beats = await db.selectFrom('heartbeats').selectAll().execute()
  return async () => {
    await db.deleteFrom('connections').execute()
    await db.deleteFrom('leases').execute()
    await db.deleteFrom('heartbeats').execute()
    await db.deleteFrom('database_history').execute()
    if (rows.length > 0)
      await db
        .insertInto('connections')
        .values(rows as ConnectionRow[])
        .execute()
    if (beats.length > 0) await db.insertInto('heartbeats').values(beats).execute()
  }
}

const lives = ({ simulator }: Stage, token: string) => simulator.world.tokenState(token) === 'active'
const replays = ({ simulator }: Stage) =>
  simulator.world.events.filter(({ kind }) => kind.startsWith('replay')).length

t.test('after a restore each connection gets its living token back from the disk', async (t) => {
  const { stage, retained } = await setScene(t)
  const { broker, clock } = stage
  await broker.history.check()
  const id = await connect(stage)
  const { id: pasted } = await connectToken(stage, { scopes: ['read_repository', 'self_rotate'] })
  const restore = await backUp(stage)
  for (const version of [2, 3]) {
    clock.advance(OUT)
    t.match(await lookUp(stage, id), served(version))
  }
  t.match(await broker.post(`/v1/connections/${pasted}/rotate`), { status: 200 })
  await until(async () => (await retained()).length === 2)
  await broker.history.check()
  t.equal(broker.history.wentBackAt(), undefined)

  await restore()
  await broker.history.check()
  t.same(broker.history.wentBackAt(), new Date(clock()))
  t.ok(broker.logLines.some((line) => /went back to an earlier state/.test(line)))
  for (const [connection, version] of [
    [id, 3],
    [pasted, 2],
  ] as const) {
    const answer = await lookUp(stage, connection)
    t.match(answer, served(version))
    t.ok(lives(stage, answer.body.token))
  }
  clock.advance(OUT)
  t.match(await lookUp(stage, id), served(4), 'its refresh token came along')
  t.equal(replays(stage), 0)
})

t.test('a refresh notices by itself that the row is behind, and sends nothing', async (t) => {
  const { stage, retained } = await setScene(t)
  const { simulator, clock } = stage
  const id = await connect(stage)
  const restore = await backUp(stage)
  clock.advance(HALF_LIFE)
  t.match(await lookUp(stage, id), served(2))
  await until(async () => (await retained()).length === 1)
  await restore()
  simulator.requests.clear()
  const answer = await lookUp(stage, id)
  t.match(answer, served(2))
  t.ok(lives(stage, answer.body.token))
  t.equal(simulator.requests.count(REFRESH), 0)
  t.match(await rowOf(stage, id), NO_TROUBLE)
})

t.test('another node that notices has every node offer what it retained', async (t) => {
  const { stage, retained } = await setScene(t)
  const { broker, clock } = stage
  const second = await startTestBroker(t, { database: broker.database, clock })
  await broker.history.check()
  await second.history.check()
  const id = await connect(stage)
  const restore = await backUp(stage)
  clock.advance(HALF_LIFE)
  t.match(await lookUp(stage, id), served(2))
  await until(async () => (await retained()).length === 1)
  await second.history.check()
  await restore()
  await second.history.check()
  t.match(await rowOf(stage, id), { token_version: 1 }, 'the second has nothing of it')
  await broker.history.check()
  t.match(await rowOf(stage, id), { token_version: 2 })
})

t.test('a node whose tokens were not taken when it noticed offers them again', async (t) => {
  const { stage } = await setScene(t)
  const { db } = stage.broker
  for (const noticedBy of ['itself', 'another node'] as const) {
    const folder = await mkdtemp(join(tmpdir(), 'gtb-history-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    let offers = 0
    const offerRetained = async () => {
      offers += 1
      if (offers === 1) throw new Error('the database is away again')
      return { given: 1, left: [] }
    }
    const logger = createLogger('silent')
    const history = createDatabaseHistory({ db, clock: stage.clock, logger, folder, offerRetained })
    await history.check()
    stage.clock.advance(1)
    if (noticedBy === 'itself') await db.deleteFrom('heartbeats').execute()
    else await saveWentBack(db, new Date(stage.clock()))
    await t.rejects(history.check(), /away again/, noticedBy)
    await history.check()
    t.equal(offers, 2, noticedBy)
    t.same(history.wentBackAt(), new Date(stage.clock()))
    await history.check()
    t.equal(offers, 2, 'and no more')
    await db.deleteFrom('database_history').execute()
  }
})

t.test('a process that waits after a failover knows what another node noticed', async (t) => {
  const { stage } = await setScene(t)
  const { db } = stage.broker
  for (const process of ['begins', 'goes on'] as const) {
    const folder = await mkdtemp(join(tmpdir(), 'gtb-history-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    const start = (timeline: string) => {
      const lineage = createLineage()
      lineage.found(timeline)
      const offerRetained = async () => ({ given: 0, left: [] })
      const logger = createLogger('silent')
      const history = createDatabaseHistory({
        db,
        clock: stage.clock,
        logger,
        folder,
        lineage,
        offerRetained,
      })
      return { history, lineage }
    }
    const before = start('1/00000001')
    await before.history.check()
    stage.clock.advance(1)
    const noticedAt = new Date(stage.clock())
    await saveWentBack(db, noticedAt)
    if (process === 'goes on') before.lineage.found('1/00000002')
    const { history } = process === 'goes on' ? before : start('1/00000002')
    await history.check()
    await until(async () => {
      try {
        history.requireSettled()
        return true
      } catch {
        return false
      }
    })
    t.same(history.wentBackAt(), noticedAt, `a process that ${process}`)
    await history.close()
    await db.deleteFrom('database_history').execute()
  }
})

t.test('a token that was saved by a process that died right after is retained by the next', async (t) => {
  const { stage, dataDir, retained } = await setScene(t)
  const { broker, clock } = stage
  const id = await connect(stage)
  const restore = await backUp(stage)
  clock.advance(HALF_LIFE)
  t.match(await lookUp(stage, id), served(2))
  await until(async () => (await retained()).length === 1)
  await broker.close()
  // As it died: its row is saved, its file is still in the spool.
  const [name] = await retained()
  const spool = join(dataDir, 'spool')
  await rename(join(spool, 'saved', name!), join(spool, name!.replace('.jwe', '.2.jwe')))
  const next = await startTestBroker(t, { database: broker.database, clock, config: { dataDir } })
  await until(async () => (await retained()).length === 1)
  t.same(
    (await readdir(spool)).filter((file) => file.endsWith('.2.jwe')),
    [],
  )
  await restore()
  t.match(await lookUp({ broker: next }, id), served(2))
})

t.test('what the disk holds never replaces what a person connected since', async (t) => {
  const { stage, retained } = await setScene(t)
  const { broker, simulator, clock } = stage
  await broker.history.check()
  const { id } = await connectToken(stage, { scopes: ['read_repository', 'self_rotate'] })
  const restore = await backUp(stage)
  for (let count = 0; count < 2; count += 1) await broker.post(`/v1/connections/${id}/rotate`)
  await until(async () => (await retained()).length === 1)
  await broker.history.check()
  await restore()
  const { token } = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: ['read_repository'],
  })
  t.match(await broker.request('PUT', `/v1/connections/${id}/token`, { body: { token } }), { status: 200 })
  await broker.history.check()
  t.match((await lookUp(stage, id)).body, { token, token_version: 2 })
  clock.advance(1)
})

t.test('a connection that no disk can help is given up with the true cause', async (t) => {
  const { stage, dataDir, retained } = await setScene(t)
  const { broker, clock } = stage
  await broker.history.check()
  const id = await connect(stage)
  const restore = await backUp(stage)
  clock.advance(HALF_LIFE)
  t.match(await lookUp(stage, id), served(2))
  await until(async () => (await retained()).length === 1)
  await broker.history.check()
  await rm(join(dataDir, 'spool', 'saved'), { recursive: true })
  await restore()
  await broker.history.check()
  for (let minute = 0; minute < 7; minute += 1) {
    const answer = await lookUp(stage, id)
    t.not(answer.status, 200)
    clock.advance(60)
  }
  t.match((await broker.get(`/v1/connections/${id}`)).body, {
    status: 'needs_reauthorization',
    status_reason: 'database_went_back',
    status_detail: /went back to a state before the last refresh/,
  })
})

t.test('a process that starts after the restore notices too', async (t) => {
  const { stage, dataDir, retained } = await setScene(t)
  const { broker, clock } = stage
  await broker.history.check()
  const id = await connect(stage)
  const restore = await backUp(stage)
  clock.advance(HALF_LIFE)
  t.match(await lookUp(stage, id), served(2))
  await until(async () => (await retained()).length === 1)
  await broker.history.check()
  await broker.close()
  await restore()
  const next = await startTestBroker(t, { database: broker.database, clock, config: { dataDir } })
  await next.history.check()
  t.same(next.history.wentBackAt(), new Date(clock()))
  t.match(await lookUp({ broker: next }, id), served(2))
})

t.test('what is retained goes after a day, and with its connection', async (t) => {
  const { stage, retained } = await setScene(t)
  const { broker, clock } = stage
  const kept = await connect(stage)
  const deleted = await connect(stage, 'tom')
  clock.advance(OUT)
  await lookUp(stage, kept)
  await lookUp(stage, deleted)
  await until(async () => (await retained()).length === 2)
  t.equal((await broker.request('DELETE', `/v1/connections/${deleted}`)).status, 204)
  t.same(await retained(), [`${kept}.jwe`])
  clock.advance(86_400)
  await broker.jobs.deleteOld()
  t.equal((await retained()).length, 1)
  clock.advance(1)
  await broker.jobs.deleteOld()
  t.same(await retained(), [])
})
