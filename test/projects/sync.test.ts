import t, { type Test } from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { requestSync } from '../../src/projects/sync/queries.ts'
import { type StartDeps, startSync } from '../../src/projects/sync/start-sync.ts'
import type { ConnectionWithInstance } from '../../src/token-lifecycle/queries.ts'
import { connectByOAuth, type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { lookUp } from '../support/lifecycle.ts'
import { borrowed, list, PROJECTS, pathsOf, sync } from '../support/projects.ts'

/** The paths under which a connection finds projects, with their ids. */
const knownPaths = async ({ broker }: Stage, id: string) => {
  const rows = await broker.db
    .selectFrom('connection_project_paths')
    .select(['match_path', 'project_id'])
    .where('connection_id', '=', id)
    .execute()
  return new Map(rows.map(({ match_path, project_id }) => [match_path, Number(project_id)]))
}

const setUp = async (t: Test) => {
  const stage = await setStage(t)
  stage.simulator.world.people.addProjects('acme/many', 250)
  const { id } = await connectToken(stage)
  stage.simulator.requests.clear()
  return { ...stage, id }
}

t.test('what a connection reaches is read page by page, and listed', async (t) => {
  const stage = await setUp(t)
  const { broker, simulator, id } = stage
  const before = await broker.get(`/v1/connections/${id}/sync`)
  t.match(before.body, { state: 'never', kind: null, projects: null, error: null })

  const done = await sync(stage, id)
  t.match(done, { state: 'done', kind: 'full', projects: 252, groups: 3, projects_read: 252, error: null })
  t.equal(simulator.requests.count({ path: PROJECTS }), 4, 'three pages of 100, and an empty one')

  const projects = await list(stage, `/v1/connections/${id}/projects?limit=100`)
  t.equal(projects.length, 252)
  t.same(
    projects.map(({ id }) => id),
    projects.map(({ id }) => id).sort((left, right) => left - right),
  )
  t.match(projects[0] ?? {}, {
    path: 'acme/web-shop',
    url: `${simulator.url}/acme/web-shop`,
    visibility: 'private',
    archived: false,
    default_branch: 'main',
    size_bytes: 4096,
    missing_since: null,
  })
  t.same(pathsOf(await list(stage, `/v1/connections/${id}/groups`)), ['acme', 'acme/platform', 'acme/many'])

  const all = await list(stage, '/v1/projects?organization=acme&limit=100')
  t.equal(all.length, 252)
  t.match(all[0], { organization: 'acme', base_url: simulator.url, connection_ids: [id] })

  const leases = await borrowed(stage, id)
  t.equal(leases.length, 1, 'the token was borrowed by a lease')
  t.ok(leases[0]?.released_at, 'and given back')
})

t.test('lists are searched and filtered', async (t) => {
  const stage = await setUp(t)
  const { simulator, clock, id } = stage
  simulator.world.people.changeProject('acme/platform/api', { archived: true })
  simulator.world.people.changeProject('acme/web-shop', { lastActivityAt: clock() - 86_400_000 })
  await sync(stage, id)
  const pushedAfter = encodeURIComponent(new Date(clock() - 3_600_000).toISOString())
  for (const base of [`/v1/connections/${id}/projects?limit=100`, '/v1/projects?limit=100']) {
    const found = async (query: string) => pathsOf(await list(stage, `${base}&${query}`))
    t.same(await found('search=WEB-sh'), ['acme/web-shop'])
    t.same(await found('search=platform/api'), ['acme/platform/api'])
    t.same(await found('search=api/platform'), [], 'words stand in the order of the path')
    t.same(await found('search=plat'), ['acme/platform/api'])
    t.same(await found('search=project-25'), ['acme/many/project-25', 'acme/many/project-250'])
    t.same(await found('search=project_25'), [], '_ stands for itself')
    t.same(await found('search=%25'), [], '% stands for itself')
    t.same(await found('archived=true'), ['acme/platform/api'])
    t.equal((await found('archived=false')).length, 251)
    t.equal((await found(`pushed_after=${pushedAfter}`)).length, 251)
    t.same(await found(`pushed_after=${pushedAfter}&search=acme/web`), [])
  }
  t.same(pathsOf(await list(stage, `/v1/connections/${id}/groups?search=plat`)), ['acme/platform'])
})

t.test('what moved is found under both paths, and what vanished is marked', async (t) => {
  const stage = await setUp(t)
  const { simulator, id } = stage
  await sync(stage, id)
  const [moved, gone] = (await list(stage, `/v1/connections/${id}/projects?search=project-2`)).map(
    ({ id }) => id,
  )
  simulator.world.people.move('acme/many/project-2', 'acme/platform/renamed')
  simulator.world.people.removeProject('acme/many/project-20')
  const done = await sync(stage, id)
  t.match(done, { state: 'done', kind: 'full', projects: 251 })

  const paths = await knownPaths(stage, id)
  t.equal(paths.get('acme/many/project-2'), moved)
  t.equal(paths.get('acme/platform/renamed'), moved)
  t.notOk(paths.has('acme/many/project-20'), 'a missing project has no paths')
  const missing = await list(stage, `/v1/connections/${id}/projects?missing=true`)
  t.same(
    missing.map(({ id, path }) => ({ id, path })),
    [{ id: gone, path: 'acme/many/project-20' }],
  )
  t.ok(missing[0]?.missing_since)
  t.equal(
    (await list(stage, '/v1/projects?search=project-20&limit=100')).length,
    10,
    'and is nothing to scan',
  )

  // Another project at the former path: the path is its own.
  simulator.world.addProject({ fullPath: 'acme/many/project-2' })
  await sync(stage, id)
  const after = await knownPaths(stage, id)
  t.not(after.get('acme/many/project-2'), moved)
  t.equal(after.get('acme/platform/renamed'), moved)
})

t.test('an hour later only what changed is read', async (t) => {
  const stage = await setUp(t)
  const { broker, simulator, clock, id } = stage
  clock.advance(5 * 3_600)
  t.equal((await lookUp(stage, id)).status, 200, 'a scanner uses the connection')
  await sync(stage, id)
  clock.advance(5 * 3_600)
  simulator.world.people.changeProject('acme/many/project-7', { lastActivityAt: clock(), archived: true })
  simulator.world.addProject({ fullPath: 'acme/many/newest' })
  simulator.world.people.removeProject('acme/many/project-8')
  simulator.requests.clear()
  await broker.jobs.syncProjects()
  const { body } = await broker.get(`/v1/connections/${id}/sync`)
  t.match(body, { state: 'done', kind: 'incremental', projects: 253, projects_read: 2 })
  t.equal(
    simulator.requests.count({ path: PROJECTS }),
    3,
    'a page of what was active, its end, and what is new',
  )
  t.same(pathsOf(await list(stage, `/v1/connections/${id}/projects?archived=true`)), ['acme/many/project-7'])

  clock.advance(86_400)
  await broker.jobs.syncProjects()
  const full = (await broker.get(`/v1/connections/${id}/sync`)).body
  t.match(full, { state: 'done', kind: 'full', projects: 252 }, 'a day later everything is read')
})

t.test('a GitLab that fails half-way is asked again where it failed, and nothing is marked', async (t) => {
  const stage = await setUp(t)
  const { broker, simulator, clock, id } = stage
  await sync(stage, id)
  simulator.world.people.removeProject('acme/many/project-1')
  simulator.requests.clear()
  let pages = 0
  const failLater = simulator.faults
  failLater.add({ match: { path: PROJECTS }, times: 1, effect: { kind: 'delay', seconds: 0 } })
  failLater.add({ match: { path: PROJECTS }, times: Infinity, effect: { kind: 'status', status: 502 } })
  const failed = await sync(stage, id)
  t.match(failed, { state: 'waiting', kind: 'full', pages_read: 1, error: { code: 'gitlab_unavailable' } })
  t.equal((await list(stage, `/v1/connections/${id}/projects?missing=true`)).length, 0)
  pages = simulator.requests.count({ path: PROJECTS })
  t.equal(pages, 2)

  await broker.jobs.syncProjects()
  t.equal(simulator.requests.count({ path: PROJECTS }), pages, 'not before its time')
  simulator.faults.clear()
  clock.advance(61)
  await broker.jobs.syncProjects()
  t.match((await broker.get(`/v1/connections/${id}/sync`)).body, {
    state: 'done',
    pages_read: 5,
    error: null,
  })
  t.equal(simulator.requests.count({ path: PROJECTS }), pages + 3, 'the first page was not read again')
  t.equal((await list(stage, `/v1/connections/${id}/projects?missing=true`)).length, 1)
})

t.test('a token that may not list is not tried again before there is another', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const { id } = await connectToken(stage, { scopes: ['read_repository'], group: 'acme' })
  if (!id) return t.fail('not connected')
  simulator.requests.clear()
  const state = await sync(stage, id)
  t.match(state, { state: 'not_permitted', next_run_at: null, error: { code: 'missing_scopes' } })
  await broker.jobs.syncProjects()
  t.equal(simulator.requests.count(), 0, 'GitLab was never asked')
  return undefined
})

t.test('groups, projects and their tokens are read as what they cover', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  simulator.world.people.addProjects('acme/platform/deep', 120)
  const cases = [
    { wanted: { group: 'acme/platform' }, projects: 121 },
    { wanted: { group: 'acme/web-shop' }, projects: 1 },
    { wanted: { kind: 'group', path: 'acme/platform' }, projects: 121 },
    { wanted: { kind: 'project', path: 'acme/web-shop' }, projects: 1 },
  ] as const
  for (const { wanted, projects } of cases) {
    const { answer, id } = await connectToken(stage, wanted as object)
    t.equal(answer.status < 300, true, answer.text)
    const done = await sync(stage, id)
    t.match(done, { state: 'done', projects, error: null }, JSON.stringify(wanted))
  }
  t.equal((await list(stage, '/v1/projects?limit=100')).length, 122, 'each once')
  const [shop] = await list(stage, '/v1/projects?search=web-shop')
  t.equal(shop?.connection_ids.length, 2)
})

t.test('a token that GitLab refuses on the way is rejected, and its successor reads on', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  simulator.world.people.addProjects('acme/many', 150)
  const id = await connectByOAuth(stage)
  // The clock of GitLab is ahead: the token has ended there, and the broker does not know.
  simulator.clock.advance(7_300)
  simulator.requests.clear()
  const state = await sync(stage, id)
  t.match(state, { state: 'done', projects: 152, error: null })
  t.equal(simulator.requests.count({ path: '/oauth/token', grantType: 'refresh_token' }), 1)
  const [second, first] = await borrowed(stage, id)
  t.ok(first?.rejected_at, 'the first lease was rejected')
  t.equal(second?.token_version, (first?.token_version ?? 0) + 1)
})

t.test('a refusal of a token that works is tried again later', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const { id } = await connectToken(stage)
  const body = '{"message":"401 Unauthorized"}'
  simulator.faults.add({ match: { path: PROJECTS }, times: 1, effect: { kind: 'status', status: 401, body } })
  t.match(await sync(stage, id), { state: 'waiting', error: { code: 'token_works' } })
})

t.test('odd projects keep no other from being read', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const { id } = await connectToken(stage)
  const odd = [
    null,
    'text',
    { id: 'x', path_with_namespace: 'a/b' },
    { id: 11 },
    { id: 12, path_with_namespace: 'a/../b' },
    { id: 13, path_with_namespace: 'a/b\u0000c' },
    { id: -4, path_with_namespace: 'a/b' },
    {
      id: '14',
      path_with_namespace: 'acme/odd',
      name: 'a\u0000b\ud800c',
      visibility: 'secret',
      archived: 'yes',
      default_branch: { name: 'main' },
      last_activity_at: 'yesterday',
      statistics: { repository_size: -1 },
    },
    { id: 14, path_with_namespace: 'acme/twice' },
    { id: 15, path_with_namespace: 'ACME/twice', statistics: { repository_size: 2 ** 52 } },
  ]
  simulator.faults.add({
    match: { path: PROJECTS },
    times: 1,
    effect: { kind: 'status', status: 200, body: JSON.stringify(odd) },
  })
  t.match(await sync(stage, id), { state: 'done', projects: 2, error: null })
  const [first, second] = await list(stage, `/v1/connections/${id}/projects`)
  t.match(first, { id: 14, name: 'a b c', visibility: null, archived: false, default_branch: null })
  t.match(second, { id: 15, path: 'ACME/twice', size_bytes: 2 ** 52 })

  for (const body of ['{}', '[', '<html></html>', '[{"id":1}]']) {
    simulator.faults.add({
      match: { path: PROJECTS },
      times: 1,
      effect: { kind: 'status', status: 200, body, headers: { link: '<https://x/>; rel="next"' } },
    })
    const state = await sync(stage, id)
    t.equal(state.state, body === '[{"id":1}]' ? 'done' : 'waiting', body)
  }
  t.equal((await list(stage, `/v1/connections/${id}/projects?missing=true`)).length, 2)
})

t.test('a nearly used up limit of GitLab puts the rest off', async (t) => {
  const stage = await setUp(t)
  const { broker, simulator, clock, id } = stage
  const page = Array.from({ length: 100 }, (_, index) => ({
    id: index + 1,
    path_with_namespace: `a/${index}`,
  }))
  simulator.faults.add({
    match: { path: PROJECTS },
    times: 1,
    effect: {
      kind: 'status',
      status: 200,
      body: JSON.stringify(page),
      headers: {
        date: new Date(clock()).toUTCString(),
        'ratelimit-limit': '2000',
        'ratelimit-remaining': '150',
        'ratelimit-reset': String(Math.floor(clock() / 1000) + 40),
      },
    },
  })
  const state = await sync(stage, id)
  t.match(state, { state: 'waiting', pages_read: 1, error: null })
  clock.advance(45)
  await broker.jobs.syncProjects()
  t.match((await broker.get(`/v1/connections/${id}/sync`)).body, { state: 'done', pages_read: 5 })
})

t.test('a connection that goes while it is asked for is not found', async (t) => {
  const { broker, clock } = await setUp(t)
  t.equal(await requestSync(broker.db, uuidv7(), new Date(clock())), false)
  const gone = { id: uuidv7(), status: 'active', token_expires_at: null } as ConnectionWithInstance
  const syncs = { isOn: true, start: async () => undefined, stop: async () => undefined }
  await t.rejects(startSync({ db: broker.db, clock, syncs } as unknown as StartDeps, gone), {
    code: 'not_found',
  })
})
