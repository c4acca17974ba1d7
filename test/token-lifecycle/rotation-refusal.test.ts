import t from 'tap'
import { type GitLabAnswer, parseJson } from '../../src/gitlab/http-client.ts'
import {
  afterRotationRefusal,
  latestDateOf,
  rotationRefusalOf,
} from '../../src/token-lifecycle/rotation-refusal.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { rowOf } from '../support/lifecycle.ts'

const BASE_URL = 'https://gitlab.example.com'
const answer = (status: number, body: unknown): GitLabAnswer => {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return { kind: 'answer', status, body: parseJson(text), text, retryAfterSeconds: undefined, headers: {} }
}
const message = (text: string) => ({ message: text })

t.test('why GitLab did not rotate is told apart', async (t) => {
  const table: [GitLabAnswer, code: string, lasts: string][] = [
    [
      answer(400, message('400 Bad request - Your administrator requires fine-grained tokens')),
      'fine_grained_required',
      'permanent',
    ],
    [
      answer(400, message('Legacy personal access tokens cannot be rotated. Use a fine-grained token.')),
      'fine_grained_required',
      'permanent',
    ],
    [
      answer(400, message('400 Bad request - Expiration date must be before 2027-01-01')),
      'rotation_refused',
      'long',
    ],
    [answer(403, { error: 'insufficient_scope', error_description: 'more' }), 'missing_scopes', 'long'],
    [answer(403, message('403 Forbidden')), 'missing_scopes', 'long'],
    [answer(403, '<html>403</html>'), 'gitlab_unavailable', 'short'],
    [answer(401, '{}'), 'gitlab_unavailable', 'short'],
    [answer(429, 'Retry later'), 'gitlab_unavailable', 'short'],
    [answer(503, message('GitLab Maintenance')), 'gitlab_unavailable', 'short'],
    [answer(405, message('405 Method Not Allowed')), 'rotation_refused', 'long'],
  ]
  for (const [given, code, lasts] of table)
    t.match(rotationRefusalOf(given, BASE_URL), { code, lasts }, given.text)
  const dates: [GitLabAnswer, string | undefined][] = [
    [answer(400, message('400 Bad request - Expiration date must be before 2027-01-01')), '2027-01-01'],
    [answer(400, message('Expiration date must be on or before 2027-01-01')), '2027-01-01'],
    [answer(400, message('Expiration date must be before 2027-13-45')), undefined],
    [answer(400, message('Expiration date must be in the future')), undefined],
    [answer(200, message('must be before 2027-01-01')), undefined],
    [answer(400, '<p>must be before 2027-01-01</p>'), undefined],
  ]
  for (const [given, date] of dates) t.equal(latestDateOf(given), date, given.text)
})

t.test('the pause after a refusal grows, and a permanent one is no hourly try', async (t) => {
  const now = new Date('2026-11-26T12:00:00Z')
  const hoursAfter = (lasts: 'permanent' | 'long' | 'short', rotation_failures: number) =>
    (afterRotationRefusal(
      { rotation_failures },
      { code: 'rotation_refused', detail: '', lasts },
      now,
    ).rotate_after.getTime() -
      now.getTime()) /
    3_600_000
  t.same(
    [0, 1, 9].map((failures) => hoursAfter('short', failures)),
    [1, 2, 6],
  )
  t.same(
    [0, 1, 9].map((failures) => hoursAfter('long', failures)),
    [4, 8, 24],
  )
  t.ok(hoursAfter('permanent', 0) > 24 * 300)
})

t.test('rotation that GitLab refuses', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const ROTATE = { path: '/api/v4/personal_access_tokens/self/rotate' }
  const scopes = ['read_repository', 'self_rotate']
  const connectDue = async (organization: string, username: string) => {
    const { id } = await connectToken(stage, { organization, username, scopes })
    await broker.db
      .updateTable('connections')
      .set({
        auto_rotate: true,
        token_issued_at: new Date(clock() - 60 * 86_400_000),
        token_expires_at: new Date(clock() + 5 * 86_400_000),
      })
      .where('id', '=', id)
      .execute()
    return id
  }
  t.afterEach(() => {
    for (const rule of Object.keys(simulator.world.rules))
      delete simulator.world.rules[rule as 'fineGrainedOnly']
  })

  await t.test('because the maximum was lowered is asked once more, with the date of GitLab', async (t) => {
    simulator.world.rules.maximumLifetimeInDays = 30
    const { id } = await connectToken(stage, { organization: 'lowered', scopes })
    simulator.requests.clear()
    t.match(await broker.post(`/v1/connections/${id}/rotate`), { status: 200, body: { token_version: 2 } })
    t.equal(simulator.requests.count(ROTATE), 2)
    const named = await broker.post(`/v1/connections/${id}/rotate`, { expires_on: '2027-09-01' })
    t.match(named, { status: 422, body: { code: 'rotation_refused', detail: /must be before/ } })
  })

  await t.test('because fine-grained tokens are required is shown, and not tried again', async (t) => {
    simulator.world.rules.fineGrainedOnly = true
    const id = await connectDue('enforced', 'tom')
    await broker.jobs.rotateDue()
    t.match((await broker.get(`/v1/connections/${id}`)).body, {
      status: 'active',
      status_reason: 'fine_grained_required',
      status_detail: /fine-grained/,
    })
    simulator.requests.clear()
    clock.advance(86_400)
    await broker.jobs.rotateDue()
    t.equal(simulator.requests.count(ROTATE), 0)
    t.match(await broker.get(`/v1/connections/${id}/credential`), { status: 200 }, 'the token works')
    clock.advance(400)
    delete simulator.world.rules.fineGrainedOnly
    t.match(await broker.post(`/v1/connections/${id}/rotate`), {
      status: 200,
      body: { status_reason: null, status_detail: null },
    })
  })

  await t.test('backs off by itself, and comes after those that were never refused', async (t) => {
    const id = await connectDue('refused', 'maria')
    simulator.faults.add({ match: ROTATE, times: Infinity, effect: { kind: 'status', status: 403 } })
    await broker.jobs.rotateDue()
    const { rotate_after, rotation_failures } = await rowOf(stage, id)
    t.ok(rotate_after! > new Date(clock() + 3_600_000))
    t.equal(rotation_failures, 1)
    t.match((await broker.get(`/v1/connections/${id}`)).body, { status_reason: 'missing_scopes' })
    simulator.faults.clear()
    clock.advance(5 * 3_600)
    await broker.jobs.rotateDue()
    t.match(await rowOf(stage, id), { token_version: 2, rotate_after: null, rotation_failure_code: null })
  })
})
