import t from 'tap'
import type { GranularScope } from '../../simulator/granular.ts'
import { connectByOAuth, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { HALF_LIFE, lookUp, OUT, rowOf, until } from '../support/lifecycle.ts'
import { borrowed, list, PROJECTS, pathsOf, sync } from '../support/projects.ts'

const REFRESH = { path: '/oauth/token', grantType: 'refresh_token' }
const GROUPS = '/api/v4/groups'

t.test('a run that is under way keeps no scanner from a longer token', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const id = await connectByOAuth(stage)
  clock.advance(1_800)
  const held = Promise.withResolvers<void>()
  simulator.faults.add({ match: { path: PROJECTS }, effect: { kind: 'hold', until: held.promise } })
  const running = sync(stage, id)
  await until(() => simulator.requests.count({ path: PROJECTS }) > 0)
  t.match(await lookUp(stage, id, { min_ttl: 7_000 }), { status: 200, body: { token_version: 2 } })
  held.resolve()
  t.match(await running, { state: 'done', projects: 2, error: null }, 'and reads on with the new token')
  t.ok((await borrowed(stage, id)).every(({ released_at, rejected_at }) => released_at ?? rejected_at))
  t.equal((await broker.get(`/v1/connections/${id}`)).body.status, 'active')
})

t.test(
  'reading refreshes no token before its end, and a connection that nobody uses once a day',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator, clock } = stage
    const id = await connectByOAuth(stage)
    clock.advance(HALF_LIFE)
    t.match(await sync(stage, id), { state: 'done' })
    t.equal(simulator.requests.count(REFRESH), 0, 'past half of its life the token still lists')
    simulator.requests.clear()
    for (let hour = 0; hour < 23; hour += 1) {
      clock.advance(3_600)
      await broker.jobs.syncProjects()
    }
    t.equal(simulator.requests.count(), 0, 'nobody asked for its token since')
    clock.advance(2 * 3_600)
    await broker.jobs.syncProjects()
    t.match((await broker.get(`/v1/connections/${id}/sync`)).body, { state: 'done', kind: 'full' })
    t.equal(simulator.requests.count(REFRESH), 1)

    t.equal((await lookUp(stage, id)).status, 200)
    await sync(stage, id)
    clock.advance(3_700)
    simulator.requests.clear()
    await broker.jobs.syncProjects()
    t.equal(
      simulator.requests.count({ path: PROJECTS }),
      2,
      'a scanner came: an hour later what changed is read',
    )
  },
)

t.test(
  'a place that is gone keeps no other from being read, and is marked once two runs missed it',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator } = stage
    simulator.world.addProject({ fullPath: 'acme/tools' })
    const permissions = ['download_code', 'read_project']
    const granular: GranularScope[] = ['acme/web-shop', 'acme/tools'].map((path) => ({
      access: 'selected_memberships',
      path,
      permissions,
    }))
    const { token } = simulator.world.createAccessToken({
      kind: 'personal',
      username: 'maria',
      scopes: ['granular'],
      granular,
    })
    const body = { organization: 'acme', base_url: simulator.url, token }
    const { id } = (await broker.post('/v1/connections/personal-access-token', body)).body
    t.match(await sync(stage, id), { state: 'done', projects: 2 })
    simulator.world.people.removeProject('acme/web-shop')
    simulator.world.people.changeProject('acme/tools', { archived: true })
    t.match(await sync(stage, id), { state: 'done', projects: 2, error: null })
    t.same(
      pathsOf(await list(stage, `/v1/connections/${id}/projects?archived=true`)),
      ['acme/tools'],
      'read on',
    )
    t.match(await sync(stage, id), { state: 'done', projects: 1 })
    t.same(pathsOf(await list(stage, `/v1/connections/${id}/projects?missing=true`)), ['acme/web-shop'])
  },
)

t.test('what the account before reached is nothing of its successor', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  simulator.world.addProject({ fullPath: 'globex/secret' })
  const { id } = await connectToken(stage, { username: 'tom' })
  await sync(stage, id)
  t.equal((await list(stage, '/v1/projects?search=secret')).length, 1)
  const { token } = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: ['read_api', 'read_repository'],
  })
  const replaced = await broker.request('PUT', `/v1/connections/${id}/token`, {
    body: { token, accept_new_identity: true },
  })
  t.equal(replaced.status, 200, replaced.text)
  t.same(await list(stage, '/v1/projects'), [], 'at once')
  t.ok((await list(stage, `/v1/connections/${id}/groups`)).every(({ missing_since }) => missing_since))
  await broker.jobs.syncProjects()
  t.same(pathsOf(await list(stage, '/v1/projects')), ['acme/web-shop', 'acme/platform/api'], 'and read anew')
})

t.test('a secret that does not open ends the run, which is written down and tried again', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { id } = await connectToken(stage)
  const { access_token } = await rowOf(stage, id)
  const set = (value: string) =>
    broker.db.updateTable('connections').set({ access_token: value }).where('id', '=', id).execute()
  await set(`${access_token.slice(0, -8)}AAAAAAAA`)
  t.match(await sync(stage, id), { state: 'waiting', error: { code: 'internal_error' } })
  const [lease] = await borrowed(stage, id)
  t.ok(lease?.released_at, 'the lease is given back')
  t.equal(simulator.requests.count({ path: PROJECTS }), 0)
  await set(access_token)
  clock.advance(61)
  await broker.jobs.syncProjects()
  t.match((await broker.get(`/v1/connections/${id}/sync`)).body, { state: 'done', error: null })
})

t.test('a cache that repeats a page for ever ends the list', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const { id } = await connectToken(stage)
  const page = Array.from({ length: 100 }, (_, index) => ({
    id: index + 1,
    full_path: `g/${index}`,
    name: `g${index}`,
  }))
  const headers = { link: `<${simulator.url}${GROUPS}?page=2>; rel="next"`, 'x-next-page': '2' }
  const effect = { kind: 'status', status: 200, body: JSON.stringify(page), headers } as const
  simulator.faults.add({ match: { path: GROUPS }, times: Infinity, effect })
  t.match(await sync(stage, id), { state: 'done', projects: 2, error: null })
  t.equal(simulator.requests.count({ path: GROUPS }), 500, 'as many pages as GitLab has at the most')
})

t.test('an empty page with more behind it marks nothing', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const { id } = await connectToken(stage)
  await sync(stage, id)
  for (const path of [PROJECTS, GROUPS]) {
    const headers = { link: `<${simulator.url}${path}?id_after=9&page=2>; rel="next"` }
    simulator.faults.add({ match: { path }, effect: { kind: 'status', status: 200, body: '[]', headers } })
    t.match(await sync(stage, id), { state: 'waiting', error: { code: 'gitlab_unavailable' } }, path)
  }
  t.same(await list(stage, `/v1/connections/${id}/projects?missing=true`), [])
})

t.test('a slow GitLab is asked for smaller pages', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const { id } = await connectToken(stage)
  simulator.faults.add({ match: { path: PROJECTS }, effect: { kind: 'hang' } })
  t.match(await sync(stage, id), { state: 'done', projects: 2, error: null })
  const sizes = simulator.requests
    .all()
    .flatMap(({ path, query }) => (path === PROJECTS ? [query.per_page] : []))
  t.same(sizes, ['100', '50', '50'])
})

t.test('where GitLab has refused much already, the reading waits', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { id } = await connectToken(stage)
  const { instance_id } = await rowOf(stage, id)
  const minute = new Date(Math.floor(clock() / 60_000) * 60_000)
  await broker.db.insertInto('instance_refusals').values({ instance_id, minute, refusals: 35 }).execute()
  await broker.jobs.mendConnections()
  simulator.requests.clear()
  t.match(await sync(stage, id), { state: 'waiting', error: { code: 'gitlab_unavailable' } })
  t.equal(simulator.requests.count(), 0)
  clock.advance(OUT)
  await broker.jobs.syncProjects()
  t.match((await broker.get(`/v1/connections/${id}/sync`)).body, { state: 'done' })
})
