import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import t from 'tap'
import { setStage } from '../support/broker.ts'
import { connect, lookUp, NO_TROUBLE, OUT, REFRESH, rowOf, until } from '../support/lifecycle.ts'

t.test('while the database hesitates to take a new token, the token is on the disk too', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-hesitating-'))
  t.teardown(() => rm(dataDir, { recursive: true, force: true }))
  const stage = await setStage(t, { broker: { config: { dataDir } } })
  const { broker, simulator, clock } = stage
  const spooled = async () =>
    (await readdir(join(dataDir, 'spool')).catch((): string[] => [])).filter((name) => name.endsWith('.jwe'))
  const id = await connect(stage)
  clock.advance(OUT)

  const { promise: answered, resolve: answer } = Promise.withResolvers<void>()
  simulator.faults.add({ match: REFRESH, effect: { kind: 'hold-after', until: answered } })
  const asking = lookUp(stage, id)
  await until(() => simulator.world.events.some(({ kind }) => kind === 'refreshed'))

  // Somebody holds the row: the save waits for its lock, until the statement's limit if need be.
  await broker.db.transaction().execute(async (transaction) => {
    await sql`select from connections where id = ${id} for update`.execute(transaction)
    answer()
    await until(async () => (await spooled()).length === 1)
    t.same(await spooled(), [`${id}.2.jwe`])
  })

  t.match(await asking, { status: 200, body: { token_version: 2 } })
  t.same(await spooled(), [], 'and no longer, once the database has it')
  t.match(await rowOf(stage, id), { token_version: 2, ...NO_TROUBLE })
})
