import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Kysely, sql } from 'kysely'
import t, { type Test } from 'tap'
import type { ConnectionRow, Tables } from '../../src/db/tables.ts'
import { createLogger } from '../../src/log.ts'
import { createDatabaseHistory } from '../../src/token-lifecycle/history/watch-history.ts'
import { setStage } from '../support/broker.ts'
import { connect, HALF_LIFE, lookUp, rowOf, until } from '../support/lifecycle.ts'

const folderOf = async (t: Test) => {
  const folder = await mkdtemp(join(tmpdir(), 'gtb-locked-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Holds the lock of a row for as long as the work takes, as somebody with a console does. */
const whileLocked = (db: Kysely<Tables>, id: string, work: () => Promise<void>) =>
  db.transaction().execute(async (transaction) => {
    await sql`select from connections where id = ${id} for update`.execute(transaction)
    await work()
  })

t.test('a row that somebody has locked keeps no other from its living token', async (t) => {
  const dataDir = await folderOf(t)
  const stage = await setStage(t, { broker: { config: { dataDir } } })
  const { broker, clock } = stage
  const { db, history } = broker
  const retained = () => readdir(join(dataDir, 'spool', 'saved')).catch((): string[] => [])
  await history.check()
  stage.simulator.world.addUser({ username: 'ada' })
  const ids = [await connect(stage), await connect(stage, 'tom'), await connect(stage, 'ada')]
  const [locked = '', ...free] = ids
  const rows = await db.selectFrom('connections').selectAll().execute()
  const beats = await db.selectFrom('heartbeats').selectAll().execute()
  clock.advance(HALF_LIFE)
  for (const id of ids) t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
  await until(async () => (await retained()).length === 3)
  await history.check()
  for (const row of rows as ConnectionRow[])
    await db.updateTable('connections').set(row).where('id', '=', row.id).execute()
  await db.deleteFrom('leases').execute()
  await db.updateTable('heartbeats').set({ beat: beats[0]!.beat }).execute()

  await whileLocked(db, locked, async () => {
    await history.check()
    for (const id of free) t.match(await rowOf(stage, id), { token_version: 2 })
    t.match(await rowOf(stage, locked), { token_version: 1 })
    t.equal(history.state().behind, 1)
    t.match(await lookUp(stage, free[0]!), { status: 503, body: { code: 'database_unavailable' } })
    const noticed = history.wentBackAt()
    clock.advance(1)
    await history.check()
    t.same(history.wentBackAt(), noticed, 'one suspicion is noticed once')
  })
  await until(async () => (await lookUp(stage, locked)).status === 200)
  for (const id of ids) t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
  t.equal(history.state().behind, 0)
  const given = broker.logLines.filter((line) => line.includes('came back from the disk'))
  t.equal(given.length, 3, 'each is offered until it has its token, and no more')
})

t.test('what cannot be given back holds up the others for a while, and then itself alone', async (t) => {
  const { broker, clock } = await setStage(t)
  const { db } = broker
  let nowMs = 0
  let left = ['FAKE-locked']
  const asked: (string[] | undefined)[] = []
  const lines: string[] = []
  const history = createDatabaseHistory({
    db,
    clock,
    logger: createLogger('info', { write: (line: string) => void lines.push(line) }),
    folder: await folderOf(t),
    offerRetained: async (only) => {
      asked.push(only)
      return { given: 0, left }
    },
    now: () => nowMs,
  })
  t.teardown(() => history.close())
  await history.check()
  await db.deleteFrom('heartbeats').execute()
  await history.check()
  await history.check()
  t.same(asked.slice(0, 2), [undefined, ['FAKE-locked']], 'only what is left is offered again')
  t.throws(() => history.requireSettled(), { code: 'database_unavailable' })
  t.equal(
    (await db.selectFrom('heartbeats').selectAll().execute()).length,
    0,
    'nobody is told that it is done',
  )

  nowMs = 16_000
  await history.check()
  t.doesNotThrow(() => history.requireSettled())
  t.doesNotThrow(() => history.requireSettled('FAKE-other'))
  t.throws(() => history.requireSettled('FAKE-locked'), { code: 'database_unavailable' })
  t.match(history.state(), { unsettledSeconds: undefined, behind: 1 })
  left = []
  await history.check()
  t.doesNotThrow(() => history.requireSettled('FAKE-locked'))
})

t.test('a suspicion that does not end makes the process not ready, and is logged once', async (t) => {
  const { broker, clock } = await setStage(t)
  let nowMs = 0
  const lines: string[] = []
  const history = createDatabaseHistory({
    db: broker.db,
    clock,
    logger: createLogger('warn', { write: (line: string) => void lines.push(line) }),
    folder: await folderOf(t),
    offerRetained: async () => {
      throw new Error('FAKE trouble')
    },
    now: () => nowMs,
  })
  t.teardown(() => history.close())
  history.suspect()
  t.equal(history.state().unsettledSeconds, undefined)
  nowMs = 30_001
  t.equal(history.state().unsettledSeconds, 30)
  const warnings = () => lines.filter((line) => line.includes('not settled'))
  await until(() => warnings().length > 0)
  t.match(warnings()[0], /FAKE trouble/)
  nowMs = 90_000
  await t.rejects(history.check(), /FAKE trouble/)
  t.equal(warnings().length, 1)
})
