import t from 'tap'
import { setStage } from '../support/broker.ts'
import { SCANNER_SCOPES } from '../support/connect.ts'

const PATHS = {
  verify: '/v1/tokens/verify',
  connect: '/v1/connections/personal-access-token',
  oauth: '/v1/connections/oauth-token',
}

t.test('a token is read as people paste it, wherever one is taken', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const base_url = simulator.url
  const { host } = new URL(base_url)
  const make = () =>
    simulator.world.createAccessToken({ kind: 'personal', username: 'maria', scopes: SCANNER_SCOPES }).token
  const WRAPPED: ((token: string) => string)[] = [
    (token) => `\u00a0${token}\r\n`,
    (token) => `“${token}”`,
    (token) => `export GITLAB_TOKEN="${token}"`,
    (token) => `Authorization: Bearer ${token}`,
    (token) => `{"token": "${token}"}`,
    (token) => `${token} (expires 2027-01-31)`,
    (token) => `http://oauth2:${token}@${host}/acme/web-shop.git`,
  ]
  const connected = await broker.post(PATHS.connect, { organization: 'acme', base_url, token: make() })
  const { id } = connected.body
  let version = 1
  for (const wrap of WRAPPED) {
    const token = make()
    const pasted = wrap(token)
    const verified = await broker.post(PATHS.verify, { base_url, token: pasted })
    t.match(verified, { status: 200, body: { valid: true } }, pasted)
    const replaced = await broker.request('PUT', `/v1/connections/${id}/token`, { body: { token: pasted } })
    version += 1
    t.match(replaced, { status: 200, body: { token_version: version } }, pasted)
    t.equal(
      (await broker.get(`/v1/connections/${id}/credential`)).body.token,
      token,
      'what is stored is the token',
    )
  }
  const pair = simulator.world.issueOAuthToken({
    username: 'tom',
    clientId: 'simulator-client',
    scopes: ['read_repository'],
  })
  const oauth = await broker.post(PATHS.oauth, {
    organization: 'acme',
    base_url,
    access_token: `Bearer ${pair.accessToken}\n`,
    refresh_token: `"refresh_token": "${pair.refreshToken}",`,
    oauth_app: 'simulator',
  })
  t.match(oauth, { status: 201, body: { refreshable: true } }, oauth.text)
  t.equal(
    (await broker.post(`/v1/connections/${oauth.body.id}/refresh`)).status,
    200,
    'both were stored whole',
  )
})

t.test('what is no token is named with a reason, and reaches no GitLab', async (t) => {
  const { broker, simulator } = await setStage(t)
  const base_url = simulator.url
  const token = 'glpat-FAKE-0123456789abcde'
  const TABLE: [pasted: string, reason: string][] = [
    [`"${token}`, 'quotes'],
    ['<your token>', 'placeholder'],
    ['glpat-****', 'masked'],
    ['Code scanning', 'has_spaces'],
    [token.replace('-', '–'), 'dash'],
    [`${token.slice(0, 12)}\n${token.slice(12)}`, 'broken_lines'],
    [`https://oauth2:${token}@gitlab.example.com/acme/x.git`, 'other_server'],
    [`gtb_mgr_${'FAKE'.padEnd(51, 'x')}`, 'access_key'],
    ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5FAKE maria', 'ssh_key'],
    ['\u200b', 'empty'],
  ]
  const before = simulator.requests.all().length
  for (const [pasted, reason] of TABLE) {
    const answers = {
      token: await broker.post(PATHS.verify, { base_url, token: pasted }),
      access_token: await broker.post(PATHS.oauth, { organization: 'acme', base_url, access_token: pasted }),
    }
    for (const [field, answer] of Object.entries(answers)) {
      const error = { field, reason, message: String }
      t.match(answer, { status: 400, body: { code: 'invalid_request', errors: [error] } }, pasted)
      t.ok(answer.body.detail.startsWith(`${field} `), answer.body.detail)
      t.notOk(answer.text.includes(token), pasted)
    }
  }
  const refresh = { access_token: token, refresh_token: 'FAKE refresh', oauth_app: 'simulator' }
  t.match(await broker.post(PATHS.oauth, { organization: 'acme', base_url, ...refresh }), {
    status: 400,
    body: { errors: [{ field: 'refresh_token', reason: 'has_spaces' }] },
  })
  t.equal(simulator.requests.all().length, before, 'GitLab was not asked')
  t.notOk(broker.logLines.some((line) => line.includes(token)))
})

t.test('the id and the secret of an OAuth app are read like tokens', async (t) => {
  const { broker, instanceId } = await setStage(t)
  const app = (more: object) => ({
    slug: 'second',
    instance_id: instanceId,
    client_id: ' "simulator-client"\n',
    client_secret: 'Secret: gloas-FAKE-simulator-client-secret\r\n',
    ...more,
  })
  const made = await broker.post('/v1/oauth-apps', app({}))
  t.match(made, { status: 201, body: { client_id: 'simulator-client' } }, made.text)
  for (const [more, field, reason] of [
    [{ client_secret: 'FAKE two words' }, 'client_secret', 'has_spaces'],
    [{ client_secret: 'gloas-FAKE–dash' }, 'client_secret', 'dash'],
    [{ client_secret: 'glpat-FAKE-0123456789abcde' }, 'client_secret', 'not_a_client_secret'],
    [{ client_id: 'gloas-FAKE-simulator-client-secret' }, 'client_id', 'client_secret'],
    [{ client_id: '<your application id>' }, 'client_id', 'placeholder'],
    [{ client_id: 'ü'.repeat(9) }, 'client_id', 'not_ascii'],
  ] as const) {
    const answer = await broker.post('/v1/oauth-apps', { ...app({ slug: 'third' }), ...more })
    t.match(answer, { status: 400, body: { errors: [{ field, reason }] } }, answer.text)
    t.notMatch(answer.text, /FAKE/)
    const changed = await broker.request('PATCH', `/v1/oauth-apps/${made.body.id}`, { body: more })
    t.match(changed, { status: 400, body: { errors: [{ field, reason }] } }, changed.text)
  }
})
