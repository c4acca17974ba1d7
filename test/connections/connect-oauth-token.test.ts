import t from 'tap'
import { startSimulator } from '../../simulator/simulator.ts'
import { type Stage, setStage } from '../support/broker.ts'
import { SCANNER_SCOPES } from '../support/connect.ts'

const PATH = '/v1/connections/oauth-token'

const issue = ({ simulator }: Stage, scopes = SCANNER_SCOPES, username = 'maria') =>
  simulator.world.issueOAuthToken({ username, clientId: 'simulator-client', scopes })

t.test('an OAuth token obtained elsewhere', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage

  t.test('alone lives until its end, and says so', async (t) => {
    const { accessToken } = issue(stage)
    clock.advance(600)
    const body = { organization: 'acme', base_url: simulator.url, access_token: accessToken }
    const answer = await broker.post(PATH, body)
    t.match(answer, {
      status: 201,
      body: {
        method: 'oauth',
        token_kind: 'oauth_access_token',
        refreshable: false,
        oauth_app: null,
        user: { username: 'maria' },
        expires_at: '2026-11-02T12:30:00.000Z',
      },
    })
    t.match(await broker.post(PATH, body), { status: 200, body: { id: answer.body.id, token_version: 1 } })
    clock.advance(6_600)
    const credential = await broker.get(`/v1/connections/${answer.body.id}/credential`)
    t.match(credential, { status: 409, body: { code: 'connection_expired' } })
    t.equal(simulator.requests.count({ grantType: 'refresh_token' }), 0)
  })

  t.test('with its refresh token and app is kept alive', async (t) => {
    const { accessToken, refreshToken } = issue(stage, SCANNER_SCOPES, 'tom')
    const { status, body } = await broker.post(PATH, {
      organization: 'acme',
      base_url: simulator.url,
      access_token: accessToken,
      refresh_token: refreshToken,
      oauth_app: 'simulator',
    })
    t.equal(status, 201)
    t.match(body, { refreshable: true, oauth_app: 'simulator', token_version: 1 })
    clock.advance(7_300)
    const credential = await broker.get(`/v1/connections/${body.id}/credential`)
    t.match(credential, { status: 200, body: { token_version: 2 } })
    t.equal(simulator.world.tokenState(credential.body.token), 'active')
  })

  t.test('costs no refusal at GitLab, connected or verified', async (t) => {
    simulator.world.addUser({ username: 'ines' })
    const { accessToken } = issue(stage, SCANNER_SCOPES, 'ines')
    const refusals = () =>
      simulator.requests.all().filter(({ status }) => status! >= 400 && status! < 404).length
    const before = refusals()
    const body = { organization: 'acme', base_url: simulator.url, access_token: accessToken }
    const { id } = (await broker.post(PATH, body)).body
    t.match(await broker.post(`/v1/connections/${id}/verify`), {
      status: 200,
      body: { works: true },
    })
    t.equal(refusals() - before, 0)
  })

  t.test('pasted again alone stays refreshable', async (t) => {
    const { accessToken, refreshToken } = issue(stage)
    const body = { organization: 'globex', base_url: simulator.url, access_token: accessToken }
    const first = await broker.post(PATH, { ...body, refresh_token: refreshToken, oauth_app: 'simulator' })
    const again = await broker.post(PATH, body)
    t.match(again, { status: 200, body: { id: first.body.id, refreshable: true, oauth_app: 'simulator' } })
  })
})

t.test('an OAuth token that does not fit is refused, and nothing is stored', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const second = await startSimulator({ repositories: false, now: clock })
  t.teardown(() => second.close())
  const instance = await broker.post('/v1/instances', { base_url: second.url, allow_private_network: true })
  const addApp = (slug: string, instance_id: string, client_id: string) =>
    broker.post('/v1/oauth-apps', { slug, instance_id, client_id, client_secret: 'gloas-FAKE' })
  await addApp('second', instance.body.id, 'simulator-client')
  await addApp('other', stage.instanceId, 'other-client')
  const { accessToken, refreshToken } = issue(stage)
  const revoked = issue(stage)
  simulator.world.revokeToken(revoked.accessToken)
  const personal = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: SCANNER_SCOPES,
  })
  const pair = { access_token: accessToken, refresh_token: refreshToken }

  const oauthApp = (message: string) => ({
    status: 400,
    body: { code: 'invalid_request', errors: [{ field: 'oauth_app', message }] },
  })
  for (const [what, body, expected] of [
    [
      'wrong app',
      { ...pair, oauth_app: 'other' },
      oauthApp('is not the app to which GitLab issued this token'),
    ],
    ['no such app', { ...pair, oauth_app: 'nowhere' }, oauthApp('is not the slug of an OAuth app')],
    ['elsewhere', { ...pair, oauth_app: 'second' }, oauthApp('belongs to another instance than base_url')],
    ['another kind', { access_token: personal.token }, { status: 422, body: { code: 'wrong_token_kind' } }],
    ['revoked', { access_token: revoked.accessToken }, { status: 422, body: { code: 'token_revoked' } }],
    [
      'unknown',
      { access_token: 'FAKE-unknown-access-token' },
      { status: 422, body: { code: 'token_unknown' } },
    ],
    [
      'too narrow',
      { access_token: issue(stage, ['read_user']).accessToken },
      { status: 422, body: { code: 'missing_scopes', missing_scopes: ['read_repository'] } },
    ],
  ] as const) {
    const answer = await broker.post(PATH, { organization: 'acme', base_url: simulator.url, ...body })
    t.match(answer, expected, what)
    t.notMatch(answer.text, body.access_token, what)
  }
  t.same(await broker.db.selectFrom('connections').select('id').execute(), [])
})
