import t from 'tap'
import { startSimulator } from '../../simulator/simulator.ts'
import { type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { until } from '../support/lifecycle.ts'
import { PROJECTS } from '../support/projects.ts'

/** Makes the reading of every connection due, in the order in which they are named. */
const makeDue = async ({ broker, clock }: Stage, ids: string[]) => {
  for (const [index, id] of ids.entries())
    await broker.db
      .updateTable('connection_syncs')
      .set({ due_at: new Date(clock() - 60_000 + index) })
      .where('connection_id', '=', id)
      .execute()
}

const stateOf = async ({ broker }: Stage, id: string): Promise<string> =>
  (await broker.get(`/v1/connections/${id}/sync`)).body.state

const connectMany = async (stage: Stage, count: number): Promise<string[]> => {
  const ids: string[] = []
  for (let number = 0; number < count; number += 1)
    ids.push((await connectToken(stage, { organization: `of-${number}` })).id)
  return ids
}

t.test('one GitLab that does not answer keeps no other from being read', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const other = await startSimulator({ repositories: false, now: clock })
  t.teardown(() => other.close())
  await broker.post('/v1/instances', { base_url: other.url, allow_private_network: true })
  const slow = await connectMany(stage, 9)
  const { id } = await connectToken({ ...stage, simulator: other })
  await makeDue(stage, [...slow, id])
  const held = Promise.withResolvers<void>()
  stage.simulator.faults.add({
    match: { path: PROJECTS },
    times: Infinity,
    effect: { kind: 'hold', until: held.promise },
  })
  const running = broker.jobs.syncProjects()
  await until(() => stage.simulator.requests.count({ path: PROJECTS }) >= 3)
  await until(async () => (await stateOf(stage, id)) === 'done')
  const states = await Promise.all(slow.map((slowId) => stateOf(stage, slowId)))
  t.equal(states.filter((state) => state === 'running').length, 3)

  await t.test('also where people begin many', async (t) => {
    for (const slowId of slow) await broker.post(`/v1/connections/${slowId}/sync`)
    t.match((await broker.post(`/v1/connections/${id}/sync`)).body, { state: /running|done/, kind: 'full' })
    await until(async () => (await stateOf(stage, id)) === 'done')
  })
  held.resolve()
  await running
  await broker.jobs.syncProjects()
  for (const slowId of slow) t.equal(await stateOf(stage, slowId), 'done')
})

t.test('long lists take turns with what is due beside them, and lose nothing', async (t) => {
  const stage = await setStage(t, { broker: { gitlab: { syncTurnMs: 0 } } })
  const { broker, simulator } = stage
  simulator.world.people.addProjects('acme/many', 1_500)
  const long = await connectMany(stage, 5)
  const short = await connectToken(stage, { organization: 'short', kind: 'project', path: 'acme/web-shop' })
  await makeDue(stage, [...long, short.id])
  simulator.requests.clear()
  await broker.jobs.syncProjects()
  const paths = simulator.requests.all().map(({ path }) => path)
  const before = paths.slice(
    0,
    paths.findIndex((path) => /projects\/\d+$/.test(path)),
  )
  const pages = before.filter((path) => path === PROJECTS).length
  t.ok(pages < 16, `${pages} pages before the last one had its turn`)
  for (const id of long)
    t.match((await broker.get(`/v1/connections/${id}/sync`)).body, {
      state: 'done',
      projects: 1_502,
      projects_read: 1_502,
      pages_read: 18,
    })
  t.equal(await stateOf(stage, short.id), 'done')
})
