import t from 'tap'
import { SEEDED_APP } from '../../simulator/seed.ts'
import {
  asBearer,
  basic,
  call,
  exchange,
  getCode,
  grantTo,
  INVALID_CLIENT,
  INVALID_GRANT,
  postToken,
  startGitLab,
  VERIFIER,
} from './gitlab-client.ts'

t.test('a code is exchanged for a pair that opens the API', async (t) => {
  const gitlab = await startGitLab(t)
  const { status, json, headers } = await exchange(gitlab, await getCode(gitlab))
  t.equal(status, 200)
  t.match(headers.get('cache-control'), 'no-store')
  t.match(json, {
    access_token: /^[0-9a-f]{64}$/,
    token_type: 'Bearer',
    expires_in: 7200,
    refresh_token: /^[0-9a-f]{64}$/,
    scope: 'read_api read_user',
    created_at: Date.UTC(2030, 4, 10, 12) / 1000,
  })
  const user = await call(`${gitlab.url}/api/v4/user`, asBearer(String(json.access_token)))
  t.match(user.json, { id: 1, username: 'maria', state: 'active', bot: false })
})

t.test('the openid scope brings an id token', async (t) => {
  const gitlab = await startGitLab(t)
  const { json } = await exchange(gitlab, await getCode(gitlab, { scope: 'openid' }))
  const claims = JSON.parse(Buffer.from(String(json.id_token).split('.')[1] ?? '', 'base64url').toString())
  t.match(claims, { iss: gitlab.url, aud: 'simulator-client', sub: '1' })
})

t.test('a code works once', async (t) => {
  const gitlab = await startGitLab(t)
  const code = await getCode(gitlab)
  t.equal((await exchange(gitlab, code)).status, 200)
  const { status, json } = await exchange(gitlab, code)
  t.equal(status, 400)
  t.strictSame(json, INVALID_GRANT)
})

t.test('a code dies after 600 seconds', async (t) => {
  const gitlab = await startGitLab(t)
  const [first, second] = [await getCode(gitlab), await getCode(gitlab)]
  gitlab.clock.advance(599)
  t.equal((await exchange(gitlab, first)).status, 200)
  gitlab.clock.advance(1)
  t.strictSame((await exchange(gitlab, second)).json, INVALID_GRANT)
})

t.test('the verifier must fit the challenge, and a wrong one does not use up the code', async (t) => {
  const gitlab = await startGitLab(t)
  const code = await getCode(gitlab)
  t.strictSame((await exchange(gitlab, code, { code_verifier: 'another' })).json, INVALID_GRANT)
  t.match((await exchange(gitlab, code, { code_verifier: undefined })).json, {
    error: 'invalid_request',
    error_description: 'Missing required parameter: code_verifier.',
  })
  t.equal((await exchange(gitlab, code)).status, 200)
  const plain = await getCode(gitlab, { code_challenge: VERIFIER, code_challenge_method: 'plain' })
  t.equal((await exchange(gitlab, plain)).status, 200, 'plain')
  const none = await getCode(gitlab, { code_challenge: undefined, code_challenge_method: undefined })
  t.equal((await exchange(gitlab, none, { code_verifier: undefined })).status, 200, 'without PKCE')
})

t.test('the checks of a code come in order: parameters, client, grant', async (t) => {
  const gitlab = await startGitLab(t)
  const code = await getCode(gitlab)
  const wrongSecret = { client_secret: 'wrong' }
  const missing = await exchange(gitlab, code, { ...wrongSecret, redirect_uri: undefined })
  t.match(missing, { status: 400, json: { error: 'invalid_request' } })
  const client = await exchange(gitlab, 'no-such-code', wrongSecret)
  t.equal(client.status, 401)
  t.strictSame(client.json, INVALID_CLIENT)
  t.match(client.headers.get('www-authenticate'), 'Bearer realm="Doorkeeper", error="invalid_client"')
  const redirect = await exchange(gitlab, code, { redirect_uri: 'http://127.0.0.1:1/other' })
  t.match(redirect, { status: 400, json: INVALID_GRANT })
})

t.test('a client says who it is by Basic or in the body, as a form or as JSON, but not twice', async (t) => {
  const gitlab = await startGitLab(t)
  const { clientId, clientSecret } = SEEDED_APP
  const inBasic = basic(clientId, clientSecret)
  const parameters = () => ({ grant_type: 'refresh_token', refresh_token: grantTo(gitlab).refreshToken })
  const without = { client_id: undefined, client_secret: undefined }
  t.equal((await postToken(gitlab, { ...parameters(), ...without }, inBasic)).status, 200, 'Basic')
  t.match(await postToken(gitlab, parameters(), inBasic), { status: 400, json: { error: 'invalid_request' } })
  const body = JSON.stringify({ ...parameters(), client_id: clientId, client_secret: clientSecret })
  const headers = { 'content-type': 'application/json' }
  t.equal((await call(`${gitlab.url}/oauth/token`, { method: 'POST', body, headers })).status, 200, 'JSON')
})

t.test('a missing and an unknown grant type are told apart', async (t) => {
  const gitlab = await startGitLab(t)
  t.match(await postToken(gitlab, {}), { status: 400, json: { error: 'invalid_request' } })
  t.match(await postToken(gitlab, { grant_type: 'magic' }), {
    status: 400,
    json: {
      error: 'unsupported_grant_type',
      error_description: 'The authorization grant type is not supported by the authorization server.',
    },
  })
})

t.test('the token info tells what a live token is, and one answer for all others', async (t) => {
  const gitlab = await startGitLab(t)
  const { accessToken, createdAt } = grantTo(gitlab)
  gitlab.clock.advance(200)
  const { json } = await call(`${gitlab.url}/oauth/token/info`, asBearer(accessToken))
  t.strictSame(json, {
    resource_owner_id: 1,
    scope: ['read_api', 'read_repository'],
    expires_in: 7000,
    application: { uid: 'simulator-client' },
    created_at: createdAt,
    scopes: ['read_api', 'read_repository'],
    expires_in_seconds: 7000,
  })
  gitlab.clock.advance(7000)
  for (const token of [accessToken, 'unknown']) {
    const refused = await call(`${gitlab.url}/oauth/token/info`, asBearer(token))
    t.equal(refused.status, 401)
    t.strictSame(refused.json, {
      error: 'invalid_token',
      error_description: 'The access token is invalid',
      state: 'unauthorized',
    })
  }
})

t.test('revoking either half revokes both', async (t) => {
  const gitlab = await startGitLab(t)
  const revoke = (token: string, client_secret = SEEDED_APP.clientSecret) =>
    call(`${gitlab.url}/oauth/revoke`, {
      method: 'POST',
      body: new URLSearchParams({ token, client_id: SEEDED_APP.clientId, client_secret }),
    })
  for (const half of ['accessToken', 'refreshToken'] as const) {
    const pair = grantTo(gitlab)
    const foreign = await revoke(pair[half], 'wrong')
    t.match(foreign, { status: 403, json: { error: 'unauthorized_client' } }, 'wrong client')
    t.equal(gitlab.world.tokenState(pair.accessToken), 'active')
    const { status, json } = await revoke(pair[half])
    t.equal(status, 200)
    t.strictSame(json, {})
    t.equal(gitlab.world.tokenState(pair.accessToken), 'revoked')
    t.equal(gitlab.world.tokenState(pair.refreshToken), 'revoked')
  }
  t.strictSame((await revoke('unknown')).json, {})
})

t.test('both discovery documents name the endpoints below the base URL', async (t) => {
  const gitlab = await startGitLab(t, { path: '/gitlab' })
  for (const name of ['openid-configuration', 'oauth-authorization-server']) {
    const { json } = await call(`${gitlab.url}/.well-known/${name}`)
    t.match(json, {
      issuer: gitlab.url,
      authorization_endpoint: `${gitlab.url}/oauth/authorize`,
      token_endpoint: `${gitlab.url}/oauth/token`,
    })
  }
  const { json } = await call(`${gitlab.url}/oauth/discovery/keys`)
  t.match(json, { keys: [{ kty: 'RSA', use: 'sig' }] })
})
