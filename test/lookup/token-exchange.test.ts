import t, { type Test } from 'tap'
import { DEFAULT_LIMITS } from '../../src/config/limits.ts'
import { type BrokerOptions, connectByOAuth, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { ACME_RULE, startIssuer, trustIssuer } from '../support/issuer.ts'

const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange'
const JWT = 'urn:ietf:params:oauth:token-type:jwt'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const FORM = 'application/x-www-form-urlencoded'

type Parameters = Record<string, string | string[] | undefined>

const setExchangeStage = async (t: Test, more: object = {}, broker: BrokerOptions = {}) => {
  const stage = await setStage(t, { broker })
  const { simulator, clock } = stage
  const issuer = await startIssuer(t, clock)
  const trusted = await trustIssuer(stage.broker, issuer, more)
  if (trusted.status !== 201) throw new Error(trusted.text)
  const exchange = async (parameters: Parameters = {}) => {
    const all: Parameters = {
      grant_type: GRANT,
      subject_token: await issuer.sign(),
      subject_token_type: JWT,
      resource: `${simulator.url}/acme/web-shop.git`,
      ...parameters,
    }
    const form = new URLSearchParams(
      Object.entries(all).flatMap(([name, values]) =>
        [values ?? []].flat().map((value): [string, string] => [name, value]),
      ),
    )
    return stage.broker.request('POST', '/v1/token', {
      key: null,
      rawBody: form.toString(),
      headers: { 'content-type': FORM },
    })
  }
  return { ...stage, issuer, exchange }
}

t.test('a workload exchanges its token for that of a repository', async (t) => {
  const stage = await setExchangeStage(t)
  const { broker, simulator, issuer, exchange } = stage
  await connectByOAuth(stage)
  const answer = await exchange({
    unknown: 'is ignored',
    scope: 'read_api',
    min_ttl: '600',
    purpose: 'scan 1',
  })
  t.equal(answer.status, 200, answer.text)
  t.equal(answer.headers.get('cache-control'), 'no-store')
  t.match(answer.headers.get('content-type'), /^application\/json/)
  const { access_token, scope, lease_id, ...rest } = answer.body
  t.same(rest, { issued_token_type: ACCESS_TOKEN, token_type: 'Bearer', expires_in: 7_200 })
  t.equal(simulator.world.tokenState(access_token), 'active')
  t.match(scope.split(' '), ['read_user', 'read_api', 'read_repository'])
  t.match(await broker.db.selectFrom('leases').selectAll().executeTakeFirst(), {
    id: lease_id,
    purpose: 'scan 1',
    subject: /^project_path:acme/,
  })
  const key = await issuer.sign()
  t.equal((await broker.request('DELETE', `/v1/leases/${lease_id}`, { key })).status, 204)

  for (const parameters of [
    { requested_token_type: ACCESS_TOKEN },
    { subject_token_type: 'urn:ietf:params:oauth:token-type:id_token' },
    { organization: 'acme' },
  ])
    t.equal((await exchange(parameters)).status, 200, JSON.stringify(parameters))
})

t.test('where to is announced', async (t) => {
  const { broker } = await setExchangeStage(t)
  const { status, body } = await broker.get('/.well-known/oauth-authorization-server', { key: null })
  t.equal(status, 200)
  t.match(body, {
    issuer: broker.url,
    token_endpoint: `${broker.url}/v1/token`,
    grant_types_supported: [GRANT],
    token_endpoint_auth_methods_supported: ['none'],
  })
})

t.test('what cannot be exchanged is refused in the words of OAuth', async (t) => {
  const rules = [
    ACME_RULE,
    { claims: { project_path: 'both/*' }, organizations: ['acme', 'globex'] },
    { claims: { project_path: 'reader/*' }, organizations: ['acme'], restrictions: { read_only: true } },
  ]
  const stage = await setExchangeStage(t, { rules })
  const { broker, simulator, issuer, exchange } = stage
  const { token } = await connectToken(stage, { group: 'acme' })
  const as = async (project_path: string) => ({ subject_token: await issuer.sign({ project_path }) })
  const other = `${simulator.url}/other/x`
  const table: [what: string, parameters: Parameters, error: string, description: RegExp][] = [
    ['another grant', { grant_type: 'client_credentials' }, 'unsupported_grant_type', /grant_type/],
    [
      'another grant, with what it takes',
      {
        grant_type: 'client_credentials',
        subject_token: undefined,
        subject_token_type: undefined,
        resource: undefined,
      },
      'unsupported_grant_type',
      /grant_type/,
    ],
    ['no grant', { grant_type: undefined }, 'invalid_request', /grant_type is required/],
    ['no token', { subject_token: undefined }, 'invalid_request', /subject_token is required/],
    ['two tokens', { subject_token: ['a', 'b'] }, 'invalid_request', /subject_token/],
    ['no JWT', { subject_token: 'gtb_scn_x' }, 'invalid_request', /no JWT/],
    ['no type', { subject_token_type: undefined }, 'invalid_request', /subject_token_type is required/],
    ['another type', { subject_token_type: 'urn:x' }, 'invalid_request', /subject_token_type must be/],
    ['another wish', { requested_token_type: JWT }, 'invalid_request', /requested_token_type/],
    ['an actor', { actor_token: 'x' }, 'invalid_request', /actor_token/],
    ['no resource', { resource: undefined }, 'invalid_request', /resource is required/],
    ['two resources', { resource: [other, other] }, 'invalid_request', /resource/],
    ['a resource that is none', { resource: 'acme' }, 'invalid_target', /resource is not the URL/],
    ['a resource without a connection', { resource: other }, 'invalid_target', /No connection/],
    ['an expired token', { subject_token: await issuer.sign({ exp: 1 }) }, 'invalid_request', /expired/],
    ['a token without a rule', await as('globex/x'), 'invalid_request', /no rule/],
    ['an access key', { subject_token: await broker.createKey('admin', ['*']) }, 'invalid_request', /no JWT/],
    ['no organization', await as('both/x'), 'invalid_request', /name the one/],
    ['another organization', { organization: 'globex' }, 'invalid_target', /no such organization/],
    ['a read-only workload', await as('reader/x'), 'unauthorized_client', /read-only/],
    ['a time that is none', { min_ttl: 'long' }, 'invalid_request', /min_ttl/],
    ['more than the token lives', { min_ttl: '99999' }, 'invalid_target', /lives/],
  ]
  await broker.db
    .updateTable('connections')
    .set({ token_expires_at: new Date(broker.clock() + 3_600_000) })
    .execute()
  for (const [what, parameters, error, description] of table) {
    const answer = await exchange(parameters)
    t.match(
      answer,
      { status: 400, body: { error, error_description: description, request_id: String } },
      what,
    )
    t.match(answer.headers.get('content-type'), /^application\/json/, what)
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.notMatch(answer.text, token)
  }
  t.same(await broker.db.selectFrom('leases').select('id').execute(), [], 'nothing was handed out')
  t.equal((await exchange({ ...(await as('both/x')), organization: 'acme' })).status, 200)

  t.test('who sends nothing at all is asked who it is', async (t) => {
    const answer = await broker.request('POST', '/v1/token', { key: null })
    t.match(answer, { status: 401, body: { error: 'invalid_client', code: 'unauthorized' } })
    t.match(answer.headers.get('www-authenticate'), /^Bearer/)
  })

  t.test('also what is no form', async (t) => {
    for (const type of ['application/json', 'text/plain', 'application/xml']) {
      const answer = await broker.request('POST', '/v1/token', {
        key: null,
        rawBody: '{}',
        headers: { 'content-type': type },
      })
      t.match(answer, { status: 415, body: { error: 'invalid_request', error_description: `Send ${FORM}.` } })
    }
    t.equal((await broker.get('/v1/token', { key: null })).status, 404)
  })

  t.test('and what cannot be done now', async (t) => {
    issuer.answerInstead({ status: 500, body: '' })
    const answer = await exchange({ subject_token: await issuer.sign({}, { kid: 'newer' }) })
    t.match(answer.status, 400, 'asked a moment ago')
    broker.clock.advance(60)
    const later = await exchange({ subject_token: await issuer.sign({}, { kid: 'newer' }) })
    t.match(later, { status: 503, body: { error: 'temporarily_unavailable', code: 'issuer_unavailable' } })
    t.ok(Number(later.headers.get('retry-after')) >= 1)
  })
})

t.test('the requests of a rule are counted as those of a key', async (t) => {
  const limits = { ...DEFAULT_LIMITS, requestsPerKey: 6 }
  const { exchange } = await setExchangeStage(t, {}, { config: { limits } })
  for (let turn = 0; turn < 6; turn += 1) t.equal((await exchange()).body.error, 'invalid_target')
  const limited = await exchange()
  t.match(limited, { status: 429, body: { error: 'temporarily_unavailable' } })
  t.ok(Number(limited.headers.get('retry-after')) >= 1)
})
