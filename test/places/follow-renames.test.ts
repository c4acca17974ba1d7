import t from 'tap'
import { connectByOAuth, setStage } from '../support/broker.ts'
import { connectToken, SCANNER_SCOPES } from '../support/connect.ts'
import { until } from '../support/lifecycle.ts'
import { sync } from '../support/projects.ts'

t.test('a renamed or moved place keeps its connection, under both paths', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const { people } = simulator.world
  const verify = (id: string) => broker.post(`/v1/connections/${id}/verify`)
  const pathsOf = async (id: string) =>
    (
      await broker.db
        .selectFrom('connection_places')
        .select(['path', 'is_former'])
        .where('connection_id', '=', id)
        .orderBy('path')
        .execute()
    ).map(({ path, is_former }) => (is_former ? `was ${path}` : path))

  const group = await connectToken(stage, { organization: 'one', kind: 'group', path: 'acme/platform' })
  const project = await connectToken(stage, { organization: 'two', kind: 'project', path: 'acme/web-shop' })
  const person = await connectToken(stage, { organization: 'three', group: 'acme' })
  people.move('acme', 'acme-corp')
  people.move('acme-corp/web-shop', 'acme-corp/platform/shop')
  for (const { id } of [group, project, person]) t.match((await verify(id)).body, { works: true })
  t.same(await pathsOf(group.id), ['was acme/platform', 'acme-corp/platform'].sort())
  t.same(await pathsOf(project.id), ['acme-corp/platform/shop', 'was acme/web-shop'])
  t.same(await pathsOf(person.id), ['was acme', 'acme-corp'])
  t.match((await broker.get(`/v1/connections/${project.id}`)).body, { group: 'acme-corp/platform/shop' })

  people.move('acme-corp/platform/shop', 'acme-corp/shop')
  await verify(project.id)
  t.same(await pathsOf(project.id), ['was acme-corp/platform/shop', 'acme-corp/shop', 'was acme/web-shop'])

  await t.test('a path of before is followed when somebody names it', async (t) => {
    const named = await connectToken(stage, { organization: 'four', group: 'acme/web-shop' })
    t.match(named.answer, { status: 201, body: { group: 'acme-corp/shop' } }, named.answer.text)
  })

  await t.test('but not to another server, nor out of the API', async (t) => {
    for (const location of [
      'https://elsewhere.example.com/api/v4/groups/1',
      '/groups/acme',
      '//elsewhere.example.com/',
    ]) {
      simulator.faults.add({
        match: { path: '/api/v4/groups/acme' },
        effect: { kind: 'status', status: 301, headers: { location } },
      })
      const { answer } = await connectToken(stage, { organization: 'five', group: 'acme' })
      t.match(answer, { status: 422, body: { code: 'not_a_gitlab' } }, location)
    }
  })

  await t.test('an id that was not known is learned', async (t) => {
    await broker.db.updateTable('connection_places').set({ gitlab_id: null, kind: null }).execute()
    await verify(person.id)
    const place = await broker.db
      .selectFrom('connection_places')
      .select(['kind', 'gitlab_id'])
      .where('connection_id', '=', person.id)
      .where('is_former', '=', false)
      .executeTakeFirstOrThrow()
    t.match(place, { kind: 'group', gitlab_id: String(people.findGroup('acme-corp')?.id) })
  })
})

t.test('a renamed group is found under its new path within a day, without a person', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { people } = simulator.world
  const scanner = await broker.createKey('scanner', ['*'])
  const lookUp = (organization: string, path: string) =>
    broker.get(`/v1/credentials?organization=${organization}&url=${simulator.url}/${path}`, { key: scanner })
  await connectToken(stage, { organization: 'api', group: 'acme' })
  await connectToken(stage, {
    organization: 'git',
    kind: 'group',
    path: 'acme',
    scopes: ['read_repository'],
  })
  const organizations = ['api', 'git']
  people.move('acme', 'acme-corp')
  for (const organization of organizations)
    t.match(await lookUp(organization, 'acme-corp/web-shop'), { status: 404 })
  await broker.jobs.lookAtNames()
  for (const organization of organizations)
    for (const path of ['acme-corp/web-shop', 'acme/web-shop', 'acme-corp/platform/api'])
      t.match(await lookUp(organization, path), { status: 200 }, `${organization} ${path}`)

  await t.test('each connection is looked at once a day', async (t) => {
    simulator.requests.clear()
    await broker.jobs.lookAtNames()
    t.same(simulator.requests.all(), [])
    clock.advance(86_401)
    await broker.jobs.lookAtNames()
    t.equal(simulator.requests.all().length, 2, 'one call for each')
  })

  await t.test('a preflight of the old path learns the new one, and many ask once', async (t) => {
    people.move('acme-corp', 'acme-inc')
    clock.advance(61)
    simulator.requests.clear()
    const urls = ['web-shop', 'platform/api', 'web-shop.git'].map(
      (path) => `${simulator.url}/acme-corp/${path}`,
    )
    for (const organization of organizations) {
      const { body } = await broker.post('/v1/credentials/preflight', { organization, urls })
      for (const { checks, ready } of body.results) {
        const git = checks.find(({ name }: { name: string }) => name === 'git')
        t.match(git, { outcome: 'warn', detail: /under its new path.*acme-inc/ })
        t.equal(ready, true)
      }
    }
    const looks = simulator.requests.all().filter(({ path }) => /groups\/\d|associations/.test(path))
    t.equal(looks.length, 2)
    for (const organization of organizations)
      t.match(await lookUp(organization, 'acme-inc/web-shop'), { status: 200 }, organization)
  })
})

t.test('a token that may only clone is led to the new path of its project by Git', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const scanner = await broker.createKey('scanner', ['*'])
  const { items } = (await broker.get('/v1/oauth-apps')).body
  const changed = await broker.request('PATCH', `/v1/oauth-apps/${items[0].id}`, {
    body: { scopes: ['read_repository'] },
  })
  t.equal(changed.status, 200, changed.text)
  await connectByOAuth(stage, { organization: 'oauth', group: 'acme/web-shop' })
  const permissions = ['download_code']
  await connectToken(stage, {
    organization: 'fine',
    scopes: ['granular'],
    granular: [{ access: 'selected_memberships', path: 'acme', permissions }],
    group: 'acme/web-shop',
  })
  for (const [from, to] of [
    ['acme/web-shop', 'acme/platform/shop'],
    ['acme/platform/shop', 'acme/shop'],
  ] as const) {
    simulator.world.people.move(from, to)
    await broker.jobs.lookAtNames()
    for (const organization of ['oauth', 'fine'])
      for (const path of ['acme/web-shop', from, to]) {
        const url = `${simulator.url}/${path}`
        const found = await broker.get(`/v1/credentials?organization=${organization}&url=${url}`, {
          key: scanner,
        })
        t.match(found, { status: 200 }, `${organization} ${path}`)
      }
    clock.advance(86_401)
    await Promise.all(
      ['oauth', 'fine'].map((organization) =>
        broker.get(`/v1/credentials?organization=${organization}&url=${simulator.url}/${to}`, {
          key: scanner,
        }),
      ),
    )
  }
})

t.test('what GitLab said before others stored a newer path changes nothing', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const { people } = simulator.world
  const { id } = await connectToken(stage, { group: 'acme' })
  const path = `/api/v4/groups/${people.findGroup('acme')?.id}`
  const group = async () => (await broker.get(`/v1/connections/${id}`)).body.group
  const verify = () => broker.post(`/v1/connections/${id}/verify`)
  const look = () => sync(stage, id)
  const replace = async () => {
    const { token } = simulator.world.createAccessToken({
      kind: 'personal',
      username: 'maria',
      scopes: SCANNER_SCOPES,
    })
    const replaced = await broker.request('PUT', `/v1/connections/${id}/token`, { body: { token } })
    t.equal(replaced.status, 200, replaced.text)
    await look()
  }
  let current = 'acme'
  for (const [index, overtake] of [look, replace].entries()) {
    const answered = Promise.withResolvers<void>()
    const [early, late] = [`early-${index}`, `late-${index}`]
    people.move(current, early)
    const before = simulator.requests.count({ path })
    simulator.faults.add({ match: { path }, effect: { kind: 'hold-after', until: answered.promise } })
    const slow = verify()
    await until(() => simulator.requests.count({ path }) > before)
    people.move(early, late)
    await overtake()
    t.equal(await group(), late)
    answered.resolve()
    t.equal((await slow).status, 200)
    t.equal(await group(), late)
    current = late
  }
})

t.test(
  'a look that GitLab did not answer is taken again soon, ever later, and keeps no other from being taken',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator, clock } = stage
    const { people } = simulator.world
    const first = await connectToken(stage, { organization: 'one', group: 'acme' })
    const second = await connectToken(stage, { organization: 'two', group: 'acme' })
    const group = async ({ id }: { id: string }) => (await broker.get(`/v1/connections/${id}`)).body.group
    people.move('acme', 'acme-corp')
    const path = /^\/api\/v4\/groups\//
    const away = simulator.faults.add({ match: { path }, times: 1, effect: { kind: 'status', status: 502 } })
    await broker.jobs.lookAtNames()
    t.equal(away.fired(), 1)
    t.same([await group(first), await group(second)].sort(), ['acme', 'acme-corp'])
    clock.advance(301)
    await broker.jobs.lookAtNames()
    t.same([await group(first), await group(second)], ['acme-corp', 'acme-corp'])

    clock.advance(86_401)
    const gone = simulator.faults.add({
      match: { path },
      times: Infinity,
      effect: { kind: 'status', status: 502 },
    })
    for (let minute = 0; minute < 24 * 60; minute += 5) {
      await broker.jobs.lookAtNames()
      clock.advance(300)
    }
    t.ok(gone.fired() >= 10 && gone.fired() <= 24, `${gone.fired()} times in a day, for two`)
  },
)
