import t from 'tap'
import { startSimulator } from '../../simulator/simulator.ts'
import { type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { until } from '../support/lifecycle.ts'

/** Ten failures in a row, and the readings that are under way beside the tenth. */
const MOST_TRIED = 10 + 2
const AT_ONCE = 3
const CONNECTIONS = 40

const connectMany = async (stage: Stage): Promise<void> => {
  for (let number = 0; number < CONNECTIONS; number += 1)
    await connectToken(stage, { organization: `of-${number}` })
}

const makeDue = async ({ broker, clock }: Stage): Promise<void> => {
  await broker.db
    .updateTable('connection_syncs')
    .set({ due_at: new Date(clock() - 1_000) })
    .execute()
}

/** Runs the job with all connections due. @returns how many readings failed in it. */
const failuresOf = async (stage: Stage): Promise<number> => {
  const { broker } = stage
  const count = async () => {
    const { failures } = await broker.db
      .selectFrom('connection_syncs')
      .select(({ fn }) => fn.sum<string>('failures').as('failures'))
      .executeTakeFirstOrThrow()
    return Number(failures)
  }
  await makeDue(stage)
  const before = await count()
  await broker.jobs.syncProjects()
  return (await count()) - before
}

const isAllRead = async ({ broker }: Stage): Promise<boolean> => {
  const states = await broker.db.selectFrom('connection_syncs').select('state').execute()
  return states.every(({ state }) => state === 'done')
}

t.test('while GitLab is away, a run tries a few connections there, and reads those of others', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const other = await startSimulator({ repositories: false, now: clock })
  t.teardown(() => other.close())
  await broker.post('/v1/instances', { base_url: other.url, allow_private_network: true })
  await connectMany(stage)
  const { id } = await connectToken({ ...stage, simulator: other })
  simulator.faults.add({ match: {}, times: Infinity, effect: { kind: 'status', status: 502 } })
  for (const run of ['the first run', 'the next']) {
    const failures = await failuresOf(stage)
    t.ok(failures > 0 && failures <= MOST_TRIED, `${failures} in ${run}`)
    t.match((await broker.get(`/v1/connections/${id}/sync`)).body, { state: 'done', error: null })
    clock.advance(60)
  }

  await t.test('and once it is back, all of them', async (t) => {
    simulator.faults.clear()
    // The circuit lets a call through after some seconds of real time.
    await until(async () => {
      await failuresOf(stage)
      return isAllRead(stage)
    })
    t.ok((await broker.get('/v1/projects')).body.items.length > 0)
  })
})

t.test('a login page in front of GitLab opens no circuit, and stops a run all the same', async (t) => {
  const stage = await setStage(t)
  await connectMany(stage)
  stage.simulator.faults.add({ match: {}, times: Infinity, effect: { kind: 'html' } })
  const failures = await failuresOf(stage)
  t.ok(failures > 0 && failures <= MOST_TRIED, `${failures} tried`)
})

t.test('no reading begins while GitLab keeps the address waiting, and all do after that', async (t) => {
  const stage = await setStage(t)
  const { simulator, clock } = stage
  await connectMany(stage)
  simulator.faults.add({ match: {}, effect: { kind: 'rate-limit', retryAfterSeconds: 30 } })
  const failures = await failuresOf(stage)
  t.ok(failures > 0 && failures <= AT_ONCE, `${failures} until GitLab said so`)
  t.equal(await failuresOf(stage), 0)
  t.notOk(await isAllRead(stage))
  clock.advance(31)
  await failuresOf(stage)
  t.ok(await isAllRead(stage))
})

t.test('a pause of one account stops no other', async (t) => {
  const stage = await setStage(t)
  await connectMany(stage)
  const name = 'throttle_authenticated_api'
  stage.simulator.faults.add({ match: {}, effect: { kind: 'rate-limit', retryAfterSeconds: 30, name } })
  await failuresOf(stage)
  const states = await stage.broker.db.selectFrom('connection_syncs').select('state').execute()
  t.ok(states.some(({ state }) => state === 'done'))
})
