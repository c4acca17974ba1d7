import t from 'tap'
import { type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { until } from '../support/lifecycle.ts'

/** Ten failures in a row open the circuit, and as many as are read at once are under way then. */
const UNTIL_OPEN = 10 + 3
const MOST_AT_ONCE = 3
const CONNECTIONS = 40

const connectMany = async (stage: Stage): Promise<void> => {
  for (let number = 0; number < CONNECTIONS; number += 1)
    await connectToken(stage, { organization: `of-${number}` })
}

/** How many readings began in this run, each of which costs leases and claims. */
const begunIn = async ({ broker }: Stage, run: () => Promise<void>): Promise<number> => {
  const count = async () => {
    const { failures } = await broker.db
      .selectFrom('connection_syncs')
      .select(({ fn }) => fn.sum<string>('failures').as('failures'))
      .executeTakeFirstOrThrow()
    return Number(failures)
  }
  const before = await count()
  await run()
  return (await count()) - before
}

const makeDue = async ({ broker, clock }: Stage): Promise<void> => {
  await broker.db
    .updateTable('connection_syncs')
    .set({ due_at: new Date(clock() - 1_000) })
    .execute()
}

t.test('while GitLab is away, a run tries a few connections, not each', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  await connectMany(stage)
  simulator.faults.add({
    match: {},
    times: Infinity,
    effect: { kind: 'status', status: 502 },
  })
  await makeDue(stage)
  const first = await begunIn(stage, broker.jobs.syncProjects)
  t.ok(first > 0 && first <= UNTIL_OPEN, `${first} until the circuit is open`)
  clock.advance(60)
  await makeDue(stage)
  const second = await begunIn(stage, broker.jobs.syncProjects)
  t.ok(second > 0 && second <= MOST_AT_ONCE, `${second} to see whether GitLab is back`)

  await t.test('and once it is back, all of them', async (t) => {
    simulator.faults.clear()
    // The circuit lets one call through after some seconds of real time.
    await until(async () => {
      await makeDue(stage)
      await broker.jobs.syncProjects()
      const states = await broker.db.selectFrom('connection_syncs').select('state').execute()
      return states.every(({ state }) => state === 'done')
    })
    t.ok((await broker.get('/v1/projects')).body.items.length > 0)
  })
})

t.test('a pause that GitLab asks of every caller stops a run, too', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  await connectMany(stage)
  simulator.faults.add({
    match: {},
    times: Infinity,
    effect: { kind: 'rate-limit', retryAfterSeconds: 30 },
  })
  await makeDue(stage)
  const begun = await begunIn(stage, broker.jobs.syncProjects)
  t.ok(begun > 0 && begun <= MOST_AT_ONCE, `${begun} until the run knows`)
})
