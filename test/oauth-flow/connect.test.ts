import t from 'tap'
import { approve } from '../../simulator/browser.ts'
import { startSimulator } from '../../simulator/simulator.ts'
import { setStage } from '../support/broker.ts'
import { authorize, callBack, createSession, startOAuth } from '../support/oauth.ts'

t.test('a person connects through GitLab, and the scanner gets a token that works', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const { callback, cookie } = await authorize(stage)
  const end = await callBack(broker, callback, cookie)

  t.equal(end.answer.status, 303)
  t.equal(end.answer.headers.get('cache-control'), 'no-store')
  t.equal(end.page, `${broker.url}/connect`)
  t.equal(end.status, 'connected')
  const { body } = await broker.get(`/v1/connections/${end.id}`)
  t.match(body, {
    organization: 'acme',
    base_url: simulator.url,
    method: 'oauth',
    token_kind: 'oauth_access_token',
    user: { username: 'maria', name: 'Maria Rossi' },
    oauth_app: 'simulator',
    status: 'active',
    refreshable: true,
    token_version: 1,
    scopes: ['read_user', 'read_api', 'read_repository'],
  })
  const credential = await broker.get(`/v1/connections/${end.id}/credential`)
  t.equal(simulator.world.tokenState(credential.body.token), 'active')
  const grants = await broker.db.selectFrom('authorization_requests').select('grant_jwe').execute()
  t.same(grants, [{ grant_jwe: null }], 'the grant is forgotten once a connection has it')
})

t.test('asks GitLab with PKCE S256, an encrypted state and the redirect URI of the app', async (t) => {
  const { broker, simulator } = await setStage(t)
  const { authorizeUrl, session } = await startOAuth(broker, await createSession(broker))
  const url = new URL(authorizeUrl)
  const { state, code_challenge, ...rest } = Object.fromEntries(url.searchParams)
  t.equal(url.origin + url.pathname, `${simulator.url}/oauth/authorize`)
  t.same(rest, {
    response_type: 'code',
    client_id: 'simulator-client',
    redirect_uri: `${broker.url}/oauth/simulator/callback`,
    scope: 'read_user read_api read_repository',
    code_challenge_method: 'S256',
  })
  t.match(code_challenge, /^[\w-]{43}$/)
  t.equal(state?.split('.').length, 5, 'a JWE')
  t.notMatch(authorizeUrl, session)
})

t.test('connecting the same account again is the same connection with a newer token', async (t) => {
  const stage = await setStage(t)
  const connect = async (username: string) => {
    const { callback, cookie } = await authorize(stage, { username })
    return (await callBack(stage.broker, callback, cookie)).id
  }
  const first = await connect('maria')
  t.equal(await connect('maria'), first)
  t.not(await connect('tom'), first)
  const { body } = await stage.broker.get(`/v1/connections/${first}`)
  t.equal(body.token_version, 2)
})

t.test('a GitLab under a path is connected below that path', async (t) => {
  const stage = await setStage(t, { simulator: { path: '/gitlab' } })
  const { callback, cookie, authorizeUrl } = await authorize(stage)
  t.match(new URL(authorizeUrl).pathname, '/gitlab/oauth/authorize')
  const { id } = await callBack(stage.broker, callback, cookie)
  const credential = await stage.broker.get(
    `/v1/credentials?organization=acme&url=${stage.simulator.url}/acme/web-shop.git`,
  )
  t.equal(credential.body.connection_id, id)
})

t.test('two apps on two GitLabs serve two flows of one browser at once', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const second = await startSimulator({ repositories: false, now: stage.clock })
  t.teardown(() => second.close())
  second.world.addApp({
    clientId: 'second-client',
    clientSecret: 'gloas-FAKE-second',
    redirectUris: [`${broker.url}/oauth/second/callback`],
  })
  const instance = await broker.post('/v1/instances', { base_url: second.url, allow_private_network: true })
  await broker.post('/v1/oauth-apps', {
    slug: 'second',
    instance_id: instance.body.id,
    client_id: 'second-client',
    client_secret: 'gloas-FAKE-second',
  })
  const one = await startOAuth(broker, await createSession(broker))
  const two = await startOAuth(broker, await createSession(broker), 'second')
  const cookie = `${one.cookie}; ${two.cookie}`
  for (const { authorizeUrl } of [two, one]) {
    const end = await callBack(broker, new URL(await approve(authorizeUrl, { username: 'maria' })), cookie)
    t.equal(end.status, 'connected')
  }
  const { body } = await broker.get('/v1/connections')
  t.same(
    new Set(body.items.map((item: { base_url: string }) => item.base_url)),
    new Set([stage.simulator.url, second.url]),
  )
})

t.test('an answer for one app does not pass at the callback of another', async (t) => {
  const stage = await setStage(t)
  const { broker, instanceId } = stage
  await broker.post('/v1/oauth-apps', {
    slug: 'other',
    instance_id: instanceId,
    client_id: 'other-client',
    client_secret: 'gloas-FAKE-other',
  })
  const { callback, cookie } = await authorize(stage)
  const moved = new URL(callback.href.replace('/oauth/simulator/', '/oauth/other/'))
  const end = await callBack(broker, moved, cookie.replaceAll('-simulator-', '-other-'))
  t.equal(end.code, 'invalid_state')
  t.equal((await callBack(broker, callback, cookie)).status, 'connected', 'and the right one still does')
})
