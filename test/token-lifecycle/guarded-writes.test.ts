import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { connectByOAuth, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

const ROTATABLE = ['api']

t.test('a token that two connections hold is not rotated: GitLab would revoke it for both', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const { id, token } = await connectToken(stage, { scopes: ROTATABLE })
  const pasted = { organization: 'globex', base_url: simulator.url, token }
  const other = await broker.post('/v1/connections/personal-access-token', pasted)
  t.equal(other.status, 201)

  t.match(await broker.post(`/v1/connections/${id}/rotate`, {}), {
    status: 422,
    body: { code: 'rotation_refused' },
  })
  t.equal(simulator.world.tokenState(token), 'active')

  t.equal((await broker.request('DELETE', `/v1/connections/${other.body.id}?revoke=false`)).status, 204)
  t.match(await broker.post(`/v1/connections/${id}/rotate`, {}), { status: 200, body: { token_version: 2 } })
})

t.test('what a person enters takes nothing from a change that is under way', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { id, token } = await connectToken(stage)
  const attempt = {
    attempt_id: uuidv7(),
    attempt_kind: 'rotate' as const,
    attempt_sent_at: new Date(clock()),
  }
  const deadline = { attempt_deadline: new Date(clock() + 20_000) }
  await broker.db
    .updateTable('connections')
    .set({ ...attempt, ...deadline })
    .where('id', '=', id)
    .execute()

  const again = { organization: 'acme', base_url: simulator.url, token }
  for (const answer of [
    await broker.request('PUT', `/v1/connections/${id}/token`, { body: { token } }),
    await broker.post('/v1/connections/personal-access-token', again),
  ]) {
    t.match(answer, { status: 503, body: { code: 'gitlab_unavailable' } })
    t.ok(Number(answer.headers.get('retry-after')) >= 1)
  }
  const row = await broker.db
    .selectFrom('connections')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  t.match(row, { attempt_id: attempt.attempt_id, token_version: 1 })
})

t.test('a connection that renews itself is not made one that cannot', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const id = await connectByOAuth(stage)
  const { body } = await broker.get(`/v1/connections/${id}/credential`)
  t.match(await broker.request('PUT', `/v1/connections/${id}/token`, { body: { token: body.token } }), {
    status: 422,
    body: { code: 'wrong_token_kind' },
  })
  t.match(await broker.get(`/v1/connections/${id}`), { body: { refreshable: true, token_version: 1 } })
})
