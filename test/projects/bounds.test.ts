import t from 'tap'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { until } from '../support/lifecycle.ts'
import { list, PROJECTS, pathsOf, sync } from '../support/projects.ts'

const DAY_SECONDS = 86_400

t.test('lists that do not end are left after 20,000 pages, and mark nothing', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  simulator.world.people.addProjects('acme/many', 250)
  const { id } = await connectToken(stage)
  t.match(await sync(stage, id), { state: 'done', projects: 252 })
  simulator.world.people.removeProject('acme/web-shop')
  // A run of 19,999 pages, which was interrupted.
  const row = {
    state: 'waiting',
    kind: 'full',
    step: 'membership',
    run: 2,
    pages: 19_999,
    due_at: new Date(clock()),
  } as const
  await broker.db.updateTable('connection_syncs').set(row).where('connection_id', '=', id).execute()
  await broker.jobs.syncProjects()
  const read = async () => (await broker.get(`/v1/connections/${id}/sync`)).body
  t.match(await read(), {
    state: 'waiting',
    pages_read: 20_000,
    error: { code: 'gitlab_unavailable', detail: /do not end/ },
    next_run_at: new Date(clock() + DAY_SECONDS * 1000).toISOString(),
  })
  t.same(await list(stage, `/v1/connections/${id}/projects?missing=true`), [])
  await broker.jobs.syncProjects()
  t.match(await read(), { pages_read: 20_000 }, 'not before a day')
  clock.advance(DAY_SECONDS + 1)
  await broker.jobs.syncProjects()
  t.match(await read(), { state: 'done', projects: 251, error: null }, 'then from the beginning')
  t.same(pathsOf(await list(stage, `/v1/connections/${id}/projects?missing=true`)), ['acme/web-shop'])
})

t.test('while a run is under way no next one is told of', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { id } = await connectToken(stage)
  const read = async () => (await broker.get(`/v1/connections/${id}/sync`)).body
  const held = Promise.withResolvers<void>()
  simulator.faults.add({ match: { path: PROJECTS }, effect: { kind: 'hold', until: held.promise } })
  const running = sync(stage, id)
  await until(() => simulator.requests.count({ path: PROJECTS }) > 0)
  t.match(await read(), { state: 'running', next_run_at: null })
  held.resolve()
  t.match(await running, { state: 'done', next_run_at: new Date(clock() + DAY_SECONDS * 1000).toISOString() })
})

t.test('what GitLab has not listed for 90 days is forgotten', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { people } = simulator.world
  people.addProjects('acme/old', 5)
  const { id } = await connectToken(stage)
  await sync(stage, id)
  people.removeProject('acme/web-shop')
  people.findGroup('acme')?.members.delete(people.user('maria').id)
  await sync(stage, id)
  const missing = async (kind: string) =>
    (await list(stage, `/v1/connections/${id}/${kind}?missing=true`)).length
  t.equal(await missing('projects'), 7)
  t.ok((await missing('groups')) > 0)
  people.findGroup('acme')?.members.set(people.user('maria').id, 30)
  clock.advance(89 * DAY_SECONDS)
  await broker.jobs.deleteOld()
  t.equal(await missing('projects'), 7)
  t.match(await sync(stage, id), { projects: 6 })
  clock.advance(2 * DAY_SECONDS)
  await broker.jobs.deleteOld()
  t.equal(await missing('projects'), 0)
  t.equal(await missing('groups'), 0)
  t.equal((await list(stage, `/v1/connections/${id}/projects`)).length, 6, 'what came back stays')
})

t.test('the cursor of another list is refused, and that of the own list goes on', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const { id } = await connectToken(stage)
  await sync(stage, id)
  const paths = [`/v1/connections/${id}/projects`, `/v1/connections/${id}/groups`, '/v1/projects']
  const encode = (text: string) => Buffer.from(text).toString('base64url')
  for (const path of paths) {
    const { items, next_cursor } = (await broker.get(`${path}?limit=1`)).body
    const next = await broker.get(`${path}?limit=1&cursor=${next_cursor}`)
    t.match(next, { status: 200, body: { items: [{ id: Number }] } }, path)
    t.not(next.body.items[0].id, items[0].id, path)
    for (const cursor of [encode(id), encode('0'), encode(`acme ${id}`), encode(`acme ${id} 1 2`), 'x'])
      t.match(await broker.get(`${path}?cursor=${cursor}`), {
        status: 400,
        body: { errors: [{ field: 'cursor' }] },
      })
  }
})
