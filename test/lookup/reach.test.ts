import t, { type Test } from 'tap'
import { LISTED_SECONDS, saveProofs } from '../../src/lookup/reach/queries.ts'
import { type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { until } from '../support/lifecycle.ts'

const ACME = 'acme'
const SECRET = 'globex/secret'

/** Two people of one organization without a group. Tom, who was verified first, alone reaches globex. */
const setRivals = async (t: Test, tom: object = {}) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  simulator.world.addProject({ fullPath: SECRET })
  const reaching = await connectToken(stage, { username: 'tom', ...tom })
  clock.advance(60)
  const later = await connectToken(stage)
  const query = (path: string, organization: string) =>
    new URLSearchParams({ url: `${simulator.url}/${path}`, organization })
  const find = (path: string, organization = ACME) =>
    broker.get(`/v1/credentials?${query(path, organization)}`)
  const explain = async (path: string, organization = ACME) =>
    (await broker.get(`/v1/credentials/explain?${query(path, organization)}`)).body
  const asked = () => simulator.requests.count({ path: /info\/refs/ })
  simulator.requests.clear()
  return { ...stage, reaching: reaching.id, later: later.id, find, explain, asked }
}

const leave = ({ world: { people } }: Stage['simulator'], group: string, username: string) =>
  people.findGroup(group)?.members.delete(people.user(username).id)

t.test('of two people the one who reaches the project gets the first lookup', async (t) => {
  const { broker, simulator, clock, reaching, later, find, explain, asked } = await setRivals(t)
  const before = await explain(SECRET)
  t.match(before, { result: 'winner', candidates: [{ connection_id: later, reason: 'best match' }] })
  t.equal(asked(), 0, 'explain asks nobody')

  const [first, other] = await Promise.all([find(`${SECRET}.git`), find(`${SECRET}/-/tree/main`)])
  t.match([first, other], [{ body: { connection_id: reaching } }, { body: { connection_id: reaching } }])
  t.equal(asked(), 3, 'both tokens, then without one: once for all who ask')
  t.match(await explain(SECRET), {
    result: 'winner',
    candidates: [
      { connection_id: reaching, won: true, reason: `best match: is known to reach ${SECRET}` },
      {
        connection_id: later,
        won: false,
        reason: `GitLab refused it for ${SECRET} on ${new Date(clock()).toISOString()}`,
      },
    ],
  })
  const leases = await broker.db.selectFrom('leases').selectAll().where('purpose', '=', 'reach').execute()
  t.equal(leases.length, 2)
  t.ok(leases.every(({ released_at }) => released_at !== null))

  simulator.faults.add({ match: { path: /./ }, times: Infinity, effect: { kind: 'cut-before' } })
  t.equal((await find(SECRET)).body.connection_id, reaching, 'remembered')
  t.equal(asked(), 3)
})

t.test('whose projects are kept in step is not asked about', async (t) => {
  const { broker, reaching, find, explain, asked } = await setRivals(t)
  t.equal((await broker.post(`/v1/connections/${reaching}/sync`)).status, 202)
  await broker.jobs.syncProjects()
  t.equal((await find(SECRET)).body.connection_id, reaching)
  t.equal(asked(), 0)
  t.match(await explain(SECRET), {
    candidates: [{ connection_id: reaching, reason: `best match: is known to reach ${SECRET}` }, {}],
  })
})

t.test('what GitLab listed counts no longer when it is not read again', async (t) => {
  const { broker, simulator, clock, reaching, later, find, asked } = await setRivals(t)
  await broker.post(`/v1/connections/${reaching}/sync`)
  await broker.jobs.syncProjects()
  leave(simulator, 'globex', 'tom')
  simulator.world.people.findGroup('globex')?.members.set(simulator.world.people.user('maria').id, 30)
  clock.advance(LISTED_SECONDS - 60)
  t.equal((await find(SECRET)).body.connection_id, reaching)
  t.equal(asked(), 0)
  clock.advance(120)
  t.equal((await find(SECRET)).body.connection_id, later)
  t.ok(asked() > 0)
})

t.test('while GitLab is down the order is that of what is known, and GitLab is left alone', async (t) => {
  const { simulator, clock, reaching, later, find, asked } = await setRivals(t)
  const struck = simulator.faults.add({
    match: { path: /info\/refs/ },
    times: Infinity,
    effect: { kind: 'status', status: 502 },
  })
  t.match(await find(SECRET), { status: 200, body: { connection_id: later } })
  t.ok(struck.fired() > 0)
  t.match(await find('globex/site'), { status: 200, body: { connection_id: later } })
  const before = asked()
  t.match(await find(SECRET), { status: 200, body: { connection_id: later } })
  t.match(await find('globex/other'), { status: 200, body: { connection_id: later } })
  t.equal(asked(), before, 'after two projects without an answer')
  simulator.faults.clear()
  clock.advance(31)
  t.equal((await find(SECRET)).body.connection_id, reaching)
})

t.test('what says nothing about the token changes nothing', async (t) => {
  const { broker, simulator, clock, later, find } = await setRivals(t)
  const nothing = async (path: string, what: string) => {
    t.equal((await find(path)).body.connection_id, later, what)
    t.same(await broker.db.selectFrom('reach_proofs').selectAll().execute(), [], what)
  }
  await nothing('globex/public-docs', 'a public repository')
  simulator.world.addGroup({ fullPath: 'globex/team' })
  await nothing('globex', 'a group, which nobody takes for a project')
  await nothing('acme/platform', 'a group that looks like a project')
  const answers = [
    { status: 403, body: '<html>Forbidden by the gateway</html>' },
    { status: 403, body: '{"error":"not allowed to download code"}' },
    { status: 404, body: 'no such page' },
    { status: 302, headers: { location: '/users/sign_in' } },
    { status: 401, body: 'session expired' },
    { status: 200, body: 'Sign in' },
  ]
  for (const [index, answer] of answers.entries()) {
    clock.advance(31)
    simulator.faults.clear()
    simulator.faults.add({
      match: { path: /info\/refs/ },
      times: Infinity,
      effect: { kind: 'status', ...answer },
    })
    await nothing(`${SECRET}-${index}`, JSON.stringify(answer))
  }
})

t.test('whom GitLab refuses is out, and asked again before nobody is left', async (t) => {
  const { simulator, clock, reaching, later, find, explain } = await setRivals(t)
  const gone = await find('globex/gone')
  t.match(gone, {
    status: 404,
    body: {
      code: 'no_connection_for_url',
      detail: /A connection covers this URL, but GitLab refused it for globex\/gone on 20/,
    },
  })
  t.match(await explain('globex/gone'), { result: 'none', candidates: [{ won: false }, { won: false }] })
  simulator.world.addProject({ fullPath: 'globex/gone' })
  t.equal((await find('globex/gone')).status, 404, 'GitLab has just said so')
  clock.advance(60)
  t.match(await find('globex/gone'), { status: 200, body: { connection_id: reaching } })

  t.test('for an hour', async (t) => {
    t.match((await explain('globex/gone')).candidates[1], { connection_id: later, reason: /refused/ })
    clock.advance(3_601)
    t.match((await explain('globex/gone')).candidates[1], { reason: 'another is known to reach globex/gone' })
  })
})

t.test('one of the closest place that GitLab refuses makes way for a wider one', async (t) => {
  const stage = await setRivals(t)
  const { broker, simulator, clock, reaching, find } = stage
  const closer = await connectToken(stage, { group: 'acme' })
  t.equal((await find('acme/web-shop')).body.connection_id, closer.id)
  const path = 'acme/web-shop'
  const proof = { connection_id: closer.id, match_path: path, reaches: false, proven_at: new Date(clock()) }
  await broker.db.insertInto('reach_proofs').values(proof).execute()
  simulator.requests.clear()
  t.not((await find(path)).body.connection_id, closer.id)
  t.equal((await find('acme/platform/api')).body.connection_id, closer.id, 'elsewhere it is the best')
  t.ok([reaching, stage.later].includes((await find(path)).body.connection_id))
})

t.test('a project that is made after GitLab was asked is found by whom it belongs to', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const longer = await connectToken(stage, { username: 'tom', group: 'globex' })
  const wide = await connectToken(stage)
  const url = `${simulator.url}/globex/new`
  const find = () => broker.get(`/v1/credentials?${new URLSearchParams({ url, organization: ACME })}`)
  const preflight = () => broker.post('/v1/credentials/preflight', { url, organization: ACME })
  t.match((await preflight()).body, { ready: false })
  simulator.requests.clear()
  for (let number = 0; number < 5; number += 1)
    t.match(await find(), { status: 404, body: { code: 'no_connection_for_url' } }, 'nor does the wider one')
  t.ok(simulator.requests.count() <= 3, 'asked once')
  simulator.world.addProject({ fullPath: 'globex/new' })
  clock.advance(60)
  t.equal((await find()).body.connection_id, longer.id)

  t.test('while another is known to reach it, GitLab is not asked again', async (t) => {
    const { people } = simulator.world
    people.findGroup('globex')?.members.set(people.user('maria').id, 30)
    leave(simulator, 'globex', 'tom')
    t.match((await preflight()).body, { ready: false })
    clock.advance(60)
    t.equal((await find()).body.connection_id, wide.id)
    people.findGroup('globex')?.members.set(people.user('tom').id, 30)
    simulator.requests.clear()
    clock.advance(600)
    t.equal((await find()).body.connection_id, wide.id)
    t.equal(simulator.requests.count(), 0)
    clock.advance(3_001)
    t.equal((await find()).body.connection_id, longer.id, 'an hour later the longer path wins again')
  })
})

t.test('a new token of other scopes is asked anew', async (t) => {
  const { broker, simulator, later, find, explain } = await setRivals(t)
  await find(SECRET)
  const made = simulator.world.createAccessToken({ kind: 'personal', scopes: ['api'], username: 'maria' })
  const replaced = await broker.request('PUT', `/v1/connections/${later}/token`, {
    body: { token: made.token },
  })
  t.equal(replaced.status, 200)
  t.match((await explain(SECRET)).candidates[1], { reason: `another is known to reach ${SECRET}` })
})

t.test('what another organization knows plays no part', async (t) => {
  const stage = await setRivals(t)
  const { clock, later, find, explain } = stage
  const others = await connectToken(stage, { username: 'tom', organization: 'globex' })
  clock.advance(60)
  const latest = await connectToken(stage, { organization: 'globex' })
  await find(SECRET)
  t.match(await explain(SECRET, 'globex'), {
    candidates: [{ connection_id: latest.id, reason: 'best match' }, { connection_id: others.id }],
  })
  t.notOk(
    (await explain(SECRET)).candidates.some(
      ({ connection_id: id }: { connection_id: string }) => id === others.id,
    ),
  )
  t.equal((await find('acme/web-shop')).body.connection_id, later, 'both reach it: the latest verified')
})

t.test('a token for Git alone is told from one that is refused', async (t) => {
  const { reaching, later, find, explain } = await setRivals(t, { scopes: ['read_repository'] })
  t.equal((await find(SECRET)).body.connection_id, reaching)
  t.match((await explain(SECRET)).candidates[1], { connection_id: later, reason: /^GitLab refused it/ })
})

t.test('of ten people who are all unknown the one who reaches the project is found', async (t) => {
  const { simulator, clock, reaching, find, ...stage } = await setRivals(t)
  for (let number = 0; number < 8; number += 1) {
    simulator.world.addUser({ username: `person-${number}`, name: 'A Person' })
    clock.advance(10)
    await connectToken({ simulator, clock, ...stage }, { username: `person-${number}` })
  }
  t.equal((await find(SECRET)).body.connection_id, reaching)
})

t.test('what Git and scanners report is asked about, and changes who wins', async (t) => {
  const { broker, simulator, reaching, later, find, explain } = await setRivals(t)
  const shop = `${simulator.url}/acme/web-shop`
  const [{ body: first }] = [await find('acme/web-shop')]
  t.equal(first.connection_id, later, 'both reach it')
  const reject = (leaseId: string, url: string) =>
    broker.post(`/v1/leases/${leaseId}/rejection?${new URLSearchParams({ url })}`, undefined)

  t.match(await reject(first.lease_id, shop), { status: 409, body: { code: 'token_works' } })
  t.equal((await find('acme/web-shop')).body.connection_id, later, 'GitLab does not say so')
  t.match(await reject(first.lease_id, 'no URL'), { status: 400, body: { errors: [{ field: 'url' }] } })
  t.match(await reject(first.lease_id, 'https://elsewhere.example/a/b'), { body: { code: 'token_works' } })

  leave(simulator, 'acme', 'maria')
  t.match(await reject(first.lease_id, shop), { body: { code: 'token_works' } })
  t.match((await explain('acme/web-shop')).candidates, [
    { connection_id: reaching, won: true },
    { connection_id: later, reason: /^GitLab refused it for acme.web-shop on / },
  ])
  t.equal((await find('acme/web-shop')).body.connection_id, reaching)

  t.test('by erase as well', async (t) => {
    const { body } = await find('acme/platform/api')
    t.equal(body.connection_id, reaching, 'found by asking')
    leave(simulator, 'acme', 'tom')
    const { host, protocol } = new URL(simulator.url)
    const lines = [
      `protocol=${protocol.slice(0, -1)}`,
      `host=${host}`,
      'path=acme/platform/api.git',
      'username=oauth2',
      `password=${body.token}`,
    ].join('\n')
    const erased = await broker.request('POST', '/v1/git-credential/erase?organization=acme', {
      rawBody: `${lines}\n`,
      headers: { 'content-type': 'text/plain' },
    })
    t.match(erased.text, /token_works/)
    t.match(await find('acme/platform/api'), { status: 404, body: { code: 'no_connection_for_url' } })
  })
})

t.test('a preflight remembers what it finds, either way', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  simulator.world.addProject({ fullPath: SECRET })
  const { id } = await connectToken(stage)
  const url = `${simulator.url}/${SECRET}`
  const preflight = async () =>
    (await broker.post('/v1/credentials/preflight', { url, organization: ACME })).body
  const find = () => broker.get(`/v1/credentials?${new URLSearchParams({ url, organization: ACME })}`)

  t.equal((await find()).status, 200, 'one connection alone: GitLab is not asked')
  t.equal((await preflight()).ready, false)
  t.match(await find(), { status: 404, body: { candidates: [{ connection_id: id }] } })
  const { people } = simulator.world
  people.findGroup('globex')?.members.set(people.user('maria').id, 30)
  const again = await preflight()
  t.equal(again.ready, true, 'GitLab is asked again, whatever is known')
  t.equal((await find()).body.connection_id, id)
})

t.test('of two who reach a project the one with more of its rate limit left wins', async (t) => {
  const { broker, simulator, clock, reaching, later, find, explain } = await setRivals(t)
  t.equal((await find('acme/web-shop')).body.connection_id, later)
  const throttled = simulator.faults.add({
    match: { path: /\/api\/v4\// },
    times: 1,
    effect: { kind: 'rate-limit', retryAfterSeconds: 60, name: 'throttle_authenticated_api' },
  })
  await broker.post(`/v1/connections/${later}/verify`, undefined)
  t.equal(throttled.fired(), 1)
  t.match((await explain('acme/web-shop')).candidates, [
    { connection_id: reaching, won: true },
    { connection_id: later, reason: 'another has more left of its rate limit at GitLab' },
  ])
  t.equal((await find('acme/web-shop')).body.connection_id, reaching)
  clock.advance(61)
  t.equal((await find('acme/web-shop')).body.connection_id, later)
})

t.test('a rival whose token is dead is looked at once, and not asked with again', async (t) => {
  const { broker, simulator, reaching, later, find } = await setRivals(t)
  const { body } = await broker.get(`/v1/connections/${later}/credential`)
  await broker.request('DELETE', `/v1/leases/${body.lease_id}`)
  simulator.world.revokeToken(body.token)
  t.equal((await find(SECRET)).body.connection_id, reaching)
  await until(async () => (await broker.get(`/v1/connections/${later}`)).body.status !== 'active')
  const refused = () => simulator.requests.all().filter(({ status }) => status === 401).length
  const before = refused()
  for (let number = 0; number < 5; number += 1) await find(`globex/other-${number}`)
  t.equal(refused(), before)
})

t.test('questions about rivals leave most of the budget of refusals to others', async (t) => {
  const { simulator, find } = await setRivals(t)
  for (let number = 0; number < 40; number += 1) {
    simulator.world.addProject({ fullPath: `globex/private-${number}` })
    t.equal((await find(`globex/private-${number}`)).status, 200)
  }
  const refusals = simulator.requests.all().filter(({ status }) => status === 401 || status === 403)
  t.ok(refusals.length > 5 && refusals.length <= 22, `${refusals.length} refusals`)
})

t.test('a URL that looks like the line of a refusal finds nothing', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { id } = await connectToken(stage, { group: 'acme' })
  const proof = {
    connection_id: id,
    match_path: 'acme/web-shop',
    reaches: false,
    proven_at: new Date(clock()),
  }
  await broker.db.insertInto('reach_proofs').values(proof).execute()
  for (const sign of ['!', '%01', '\u0001', '']) {
    const url = `${simulator.url}/${sign}acme/web-shop`
    const answer = await broker.get(`/v1/credentials?${new URLSearchParams({ url, organization: ACME })}`)
    t.match(String(answer.status), /^4/, JSON.stringify(sign))
  }
})

t.test('what GitLab says of a token that was replaced meanwhile is not kept', async (t) => {
  const { broker, clock, later } = await setRivals(t)
  const proof = { connectionId: later, project: SECRET, reaches: false }
  const kept = () => broker.db.selectFrom('reach_proofs').selectAll().execute()
  await saveProofs(broker.db, [{ ...proof, tokenVersion: 2 }], new Date(clock()))
  t.same(await kept(), [])
  await saveProofs(broker.db, [{ ...proof, tokenVersion: 1 }], new Date(clock()))
  t.equal((await kept()).length, 1)
})
