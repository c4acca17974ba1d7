import t from 'tap'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { lookUp, NO_TROUBLE, rowOf, until } from '../support/lifecycle.ts'

const CONNECTIONS = 16
const MINUTES = 120
const STEP_MINUTES = 2

t.test('two hours without GitLab cost no connection, and GitLab is not stormed', async (t) => {
  const stage = await setStage(t, { broker: { gitlab: { circuitOpenMs: 5 } } })
  const { broker, simulator, clock } = stage
  const { world, faults, requests } = simulator
  const scopes = ['read_user', 'read_api', 'read_repository']
  const connectMade = async (index: number): Promise<string> => {
    const { username } =
      world.people.findUser(`person-${index}`) ?? world.people.addUser({ username: `person-${index}` })
    const made = world.issueOAuthToken({ username, clientId: SEEDED_APP.clientId, scopes })
    const { status, text, body } = await broker.post('/v1/connections/oauth-token', {
      organization: 'acme',
      base_url: simulator.url,
      access_token: made.accessToken,
      refresh_token: made.refreshToken,
      oauth_app: 'simulator',
    })
    t.equal(status, 201, text)
    return body.id
  }
  const connectSome = (from: number) =>
    Promise.all(Array.from({ length: CONNECTIONS / 2 }, (_, index) => connectMade(from + index)))
  // Half of the tokens run out in the course of it, the others have most of their life before them.
  const aging = await connectSome(0)
  clock.advance(5_400)
  const young = await connectSome(CONNECTIONS / 2)
  const all = [...aging, ...young]
  const pasted = await connectToken(stage)

  const always = { match: {}, times: Number.POSITIVE_INFINITY }
  faults.add({ ...always, probability: 0.3, effect: { kind: 'status', status: 502 } })
  faults.add({ ...always, probability: 0.3, effect: { kind: 'cut-before' } })
  faults.add({ ...always, effect: { kind: 'status', status: 503, headers: { 'retry-after': '20' } } })
  requests.clear()
  const perStep: number[] = []
  for (let minute = 0; minute < MINUTES; minute += STEP_MINUTES) {
    clock.advance(STEP_MINUTES * 60)
    const before = requests.count()
    await broker.jobs.mendConnections()
    if (minute % 20 === 0) {
      for (const id of [...all, pasted.id]) {
        const answer = await lookUp(stage, id)
        if (answer.status === 200) {
          if (world.tokenState(answer.body.token) !== 'active')
            t.fail(`minute ${minute}: a dead token was handed out`)
          // What it may not get is a token that lives on: so early that nobody holds it up.
          await broker.request('DELETE', `/v1/leases/${answer.body.lease_id}`)
        } else if (
          answer.body.code !== 'gitlab_unavailable' ||
          !(Number(answer.headers.get('retry-after')) > 0)
        ) {
          t.fail(`minute ${minute}: ${answer.text}`)
        }
      }
    }
    perStep.push(requests.count() - before)
  }
  const statuses = async () =>
    new Set((await Promise.all(all.map((id) => rowOf(stage, id)))).map(({ status }) => status))
  t.same(await statuses(), new Set(['active']), 'none is given up')
  t.match(
    await lookUp(stage, pasted.id),
    { status: 200 },
    'a pasted token needs no refresh: it was served all the time',
  )
  t.match(await lookUp(stage, aging[0]!), { status: 503, body: { code: 'gitlab_unavailable' } })
  const most = Math.max(...perStep)
  t.ok(
    most <= CONNECTIONS * 2,
    `at the most ${most} requests in two minutes for ${CONNECTIONS} connections that all fail`,
  )
  t.ok(requests.count() > perStep.length / 4, 'and GitLab was tried all the time')

  faults.clear()
  requests.clear()
  await until(async () => {
    clock.advance(61)
    await broker.jobs.mendConnections()
    return (await Promise.all(all.map((id) => rowOf(stage, id)))).every(
      ({ failing_since }) => failing_since === null,
    )
  })
  for (const id of all) {
    const row = await rowOf(stage, id)
    t.match(row, { status: 'active', ...NO_TROUBLE })
    t.equal(row.token_version, 2)
    t.equal(world.tokenState((await lookUp(stage, id)).body.token), 'active')
  }
  t.same(
    world.events.filter(({ kind }) => kind === 'replay_of_spent_refresh_token'),
    [],
  )
})
