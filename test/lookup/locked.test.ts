import { sql } from 'kysely'
import t from 'tap'
import type { Stage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { until } from '../support/lifecycle.ts'
import { setListeningStage } from '../support/listening-stage.ts'

const SECRET = 'globex/secret'

/** Runs work while the row of a connection is locked, as it is for a moment with each refresh. */
const whileLocked = <Result>(
  { broker }: Stage,
  id: string,
  { work, isMet }: { work: () => Promise<Result>; isMet: () => boolean },
): Promise<{ done: Promise<Result> }> =>
  broker.db.transaction().execute(async (transaction) => {
    await sql`select from connections where id = ${id} for update`.execute(transaction)
    const done = work()
    await until(isMet)
    // Not awaited here: the work ends when the lock does.
    return { done }
  })

const setSecretStage = async (t: Parameters<typeof setListeningStage>[0]) => {
  const listening = await setListeningStage(t)
  listening.stage.simulator.world.addProject({ fullPath: SECRET })
  /** GitLab serves the project to Tom alone. */
  const tom = await connectToken(listening.stage, { username: 'tom' })
  return { ...listening, tom }
}

t.test('who reaches a project is asked although a lookup has met a lock before', async (t) => {
  const { stage, find, seen, tom } = await setSecretStage(t)
  const { done } = await whileLocked(stage, tom.id, {
    work: () => find(SECRET),
    isMet: () => seen().includes('is-visible'),
  })
  t.equal((await done).id, tom.id)
  stage.clock.advance(5)
  await connectToken(stage)
  t.equal((await find(SECRET)).id, tom.id, 'not the one that was verified last')
})

t.test('nor is it forgotten where it was known during the lock', async (t) => {
  const { stage, find, seen, tom } = await setSecretStage(t)
  stage.clock.advance(60)
  await connectToken(stage)
  t.equal((await find(SECRET)).id, tom.id)
  const { done } = await whileLocked(stage, tom.id, {
    work: () => find(SECRET),
    isMet: () => seen().includes('is-visible'),
  })
  t.equal((await done).id, tom.id)
  await sql`delete from reach_proofs`.execute(stage.broker.db)
  t.equal((await find(SECRET)).id, tom.id)
})

t.test('many lookups of a locked connection share their statements', async (t) => {
  const { stage, find, seen } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  await find('acme/web-shop')
  const { done } = await whileLocked(stage, id, {
    work: () => Promise.all(Array.from({ length: 50 }, () => find('acme/web-shop'))),
    isMet: () => seen().filter((name) => name === 'is-visible').length >= 50,
  })
  for (const found of await done) t.match(found, { status: 200, id })
  const alone = seen().filter((name) => name === 'find-candidates' || name === 'find-instances-of-host')
  t.same(alone, [])
})

t.test('a column that a later version gives to the access keys disturbs no lookup', async (t) => {
  const { stage, find } = await setListeningStage(t)
  await connectToken(stage, { group: 'acme' })
  await connectToken(stage, { username: 'tom', group: 'acme' })
  await sql`alter table access_keys add column subject text, add column purpose text, add column lease_seconds int,
    add column instance_id uuid, add column version int, add column paths text, add column connection_id uuid`.execute(
    stage.broker.db,
  )
  t.match(await find('acme/web-shop'), { status: 200 })
  t.match(await find('acme/web-shop'), { status: 200 })
})
