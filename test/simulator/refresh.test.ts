import t from 'tap'
import {
  asBearer,
  call,
  grantTo,
  INVALID_CLIENT,
  INVALID_GRANT,
  REVOKED,
  refresh,
  startGitLab,
} from './gitlab-client.ts'

t.test('a refresh answers a new pair and kills both halves of the old one at once', async (t) => {
  const gitlab = await startGitLab(t)
  const old = grantTo(gitlab)
  const { status, json } = await refresh(gitlab, old.refreshToken)
  t.equal(status, 200)
  t.match(json, { token_type: 'Bearer', expires_in: 7200, scope: 'read_api read_repository' })
  t.equal(gitlab.world.tokenState(String(json.access_token)), 'active')
  t.equal(gitlab.world.tokenState(old.refreshToken), 'revoked')
  const refused = await call(`${gitlab.url}/api/v4/projects`, asBearer(old.accessToken))
  t.equal(refused.status, 401)
  t.strictSame(refused.json, REVOKED)
})

t.test('of 50 refreshes at once exactly one wins', async (t) => {
  const gitlab = await startGitLab(t)
  const { refreshToken } = grantTo(gitlab)
  const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(gitlab, refreshToken)))
  const winners = answers.filter(({ status }) => status === 200)
  t.equal(winners.length, 1)
  for (const { status, json } of answers.filter(({ status }) => status !== 200)) {
    t.equal(status, 400)
    t.strictSame(json, INVALID_GRANT)
  }
  t.equal(gitlab.world.tokenState(String(winners[0]?.json.access_token)), 'active')
})

t.test('replaying a spent refresh token does not harm the new pair', async (t) => {
  const gitlab = await startGitLab(t)
  const old = grantTo(gitlab)
  const { json } = await refresh(gitlab, old.refreshToken)
  t.equal((await refresh(gitlab, old.refreshToken)).status, 400)
  t.equal(gitlab.world.tokenState(String(json.access_token)), 'active')
  t.equal((await refresh(gitlab, String(json.refresh_token))).status, 200)
})

t.test('a refresh token works after its access token expired', async (t) => {
  const gitlab = await startGitLab(t)
  const { accessToken, refreshToken } = grantTo(gitlab)
  gitlab.clock.advance(7200)
  t.equal(gitlab.world.tokenState(accessToken), 'expired')
  t.equal(gitlab.world.tokenState(refreshToken), 'active')
  gitlab.clock.advance(365 * 86_400)
  t.equal((await refresh(gitlab, refreshToken)).status, 200)
})

t.test('the lifetime is copied from the old pair', async (t) => {
  const gitlab = await startGitLab(t, { accessTokenLifetimeSeconds: 300 })
  t.equal((await refresh(gitlab, grantTo(gitlab).refreshToken)).json.expires_in, 300)
})

t.test('the checks of a refresh come in order: refresh token, client, client match, scope', async (t) => {
  const gitlab = await startGitLab(t)
  gitlab.world.addApp({ clientId: 'other', clientSecret: 'FAKE-other', redirectUris: [] })
  const { refreshToken } = grantTo(gitlab)
  const wrongSecret = { client_secret: 'wrong' }
  t.match((await refresh(gitlab, '', {})).json, { error: 'invalid_request' }, 'missing refresh token')
  t.strictSame((await refresh(gitlab, 'unknown', wrongSecret)).json, INVALID_GRANT, 'unknown, wrong secret')
  const client = await refresh(gitlab, refreshToken, wrongSecret)
  t.equal(client.status, 401)
  t.strictSame(client.json, INVALID_CLIENT)
  const foreign = { client_id: 'other', client_secret: 'FAKE-other', scope: 'api' }
  t.strictSame((await refresh(gitlab, refreshToken, foreign)).json, INVALID_GRANT, 'other client')
  t.match(
    (await refresh(gitlab, refreshToken, { scope: 'api' })).json,
    { error: 'invalid_scope' },
    'wider scope',
  )
  t.equal(gitlab.world.tokenState(refreshToken), 'active', 'none of this spent the token')
  const narrow = await refresh(gitlab, refreshToken, { scope: 'read_api' })
  t.match(narrow, { status: 200, json: { scope: 'read_api' } })
})

t.test('a changed secret and a removed app stop refreshes', async (t) => {
  const gitlab = await startGitLab(t)
  const { refreshToken } = grantTo(gitlab)
  gitlab.world.changeAppSecret('simulator-client', 'FAKE-new')
  t.strictSame((await refresh(gitlab, refreshToken)).json, INVALID_CLIENT)
  t.equal(gitlab.world.tokenState(refreshToken), 'active')
  gitlab.world.removeApp('simulator-client')
  t.strictSame((await refresh(gitlab, refreshToken, { client_secret: 'FAKE-new' })).json, INVALID_CLIENT)
})

t.test('the events tell the story of a grant over its refreshes', async (t) => {
  const gitlab = await startGitLab(t)
  const old = grantTo(gitlab)
  const { json } = await refresh(gitlab, old.refreshToken)
  await refresh(gitlab, old.refreshToken)
  gitlab.world.revokeToken(String(json.access_token))
  t.match(
    gitlab.world.events.map(({ kind, generation, grantId }) => [kind, generation, grantId]),
    [
      ['issued', 1, old.grantId],
      ['refreshed', 2, old.grantId],
      ['replay_of_spent_refresh_token', 1, old.grantId],
      ['refresh_refused', 1, old.grantId],
      ['revoked', 2, old.grantId],
    ],
  )
  t.match(gitlab.world.tokenDetails(String(json.refresh_token)), {
    half: 'refresh',
    generation: 2,
    username: 'maria',
  })
})
