import type { LookupFunction } from 'node:net'
import t from 'tap'
import { startSimulator } from '../../simulator/simulator.ts'
import { createHttpClient, type TrustProfile } from '../../src/gitlab/http-client.ts'
import { proxyFor } from '../../src/gitlab/proxy.ts'
import { refusalOf } from '../../src/gitlab/refusal.ts'
import { startTestBroker } from '../support/broker.ts'
import { makeCertificate } from '../support/certificate.ts'
import { SCANNER_SCOPES } from '../support/connect.ts'
import { startConnectProxy } from '../support/connect-proxy.ts'

t.test('which proxy a server is called through', (t) => {
  const environment = { url: 'http://user:p%40ss@proxy.example.com:3128/', noProxy: [] as string[] }
  const through = (baseUrl: string, noProxy: string[] = [], proxyUrl: string | null = null) =>
    proxyFor(baseUrl, { proxyUrl, environment: { ...environment, noProxy } })?.host
  const proxy = 'proxy.example.com'
  for (const [baseUrl, noProxy, wanted] of [
    ['https://gitlab.com', [], proxy],
    ['https://gitlab.com:8443/gitlab', [], proxy],
    ['http://gitlab.internal', [], undefined],
    ['https://localhost', [], undefined],
    ['https://127.0.0.1:8443', [], undefined],
    ['https://[::1]', [], undefined],
    ['https://gitlab.com', ['*'], undefined],
    ['https://gitlab.com', ['gitlab.com'], undefined],
    ['https://gitlab.com', ['GITLAB.com'], undefined],
    ['https://gitlab.com', ['gitlab.com.'], undefined],
    ['https://gitlab.com', ['com'], undefined],
    ['https://a.gitlab.com', ['gitlab.com'], undefined],
    ['https://a.gitlab.com', ['.gitlab.com'], undefined],
    ['https://a.gitlab.com', ['*.gitlab.com'], undefined],
    ['https://notgitlab.com', ['gitlab.com'], proxy],
    ['https://gitlab.com.example.org', ['gitlab.com'], proxy],
    ['https://gitlab.com', ['a.gitlab.com'], proxy],
    ['https://gitlab.com', ['gitlab.com:443'], undefined],
    ['https://gitlab.com', ['gitlab.com:8443'], proxy],
    ['https://gitlab.com:8443', ['gitlab.com:8443'], undefined],
    ['https://10.1.2.3', ['10.0.0.0/8'], undefined],
    ['https://11.1.2.3', ['10.0.0.0/8'], proxy],
    ['https://10.1.2.3', ['10.1.2.3'], undefined],
    ['https://10.1.2.3', ['2.3'], proxy],
    ['https://[fd00::1]', ['fd00::/8'], undefined],
    ['https://[fd00::1]', ['fd00::1'], undefined],
    ['https://[fd00::1]:8443', ['[fd00::1]:8443'], undefined],
    ['https://[fd00::1]', ['10.0.0.0/8', '1.2.3.4/99', '/', ':', '.', ''], proxy],
  ] as const)
    t.equal(through(baseUrl, [...noProxy]), wanted, `${baseUrl} ${noProxy}`)
  t.equal(through('https://gitlab.com', ['*'], 'http://own.example.com'), 'own.example.com')
  t.equal(through('https://127.0.0.1', [], 'http://own.example.com'), 'own.example.com')
  t.equal(through('http://127.0.0.1', [], 'http://own.example.com'), undefined)
  const basic = `Basic ${Buffer.from('user:p@ss').toString('base64')}`
  const asked = (proxyUrl: string) => proxyFor('https://gitlab.com', { proxyUrl, environment })?.authorization
  t.equal(asked('http://proxy.example.com:3128'), basic, 'the same proxy has the same credentials')
  t.equal(asked('http://proxy.example.com:3129'), undefined)
  t.equal(asked('https://proxy.example.com:3128'), undefined)
  t.end()
})

/** Every name of example.com is here; others there are none. */
const lookupOf =
  (address: string): LookupFunction =>
  (hostname, options, callback) => {
    if (!hostname.endsWith('.example.com'))
      return callback(Object.assign(new Error('FAKE'), { code: 'ENOTFOUND' }), '', 0)
    return options.all ? callback(null, [{ address, family: 4 }]) : callback(null, address, 4)
  }

t.test('a client behind a proxy', async (t) => {
  const { certificate, key } = makeCertificate({
    hosts: ['gitlab.example.com', 'gitlab.nowhere', '127.0.0.1'],
  })
  const gitlab = await startSimulator({ repositories: false, tls: { key, cert: certificate } })
  t.teardown(() => gitlab.close())
  const { port } = new URL(gitlab.url)
  const { token } = gitlab.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: SCANNER_SCOPES,
  })
  const proxy = await startConnectProxy(t)
  const ask = async (profile: Partial<TrustProfile>, address = '127.0.0.1') => {
    const { baseUrl = `https://gitlab.example.com:${port}` } = profile
    const client = createHttpClient(
      { baseUrl, allowPrivateNetwork: true, caCertificate: certificate, ...profile },
      {
        clock: Date.now,
        timeoutMs: 2_000,
        lookup: lookupOf(address),
        environmentProxy: { url: proxy.url.replace('//', '//user:FAKE@'), noProxy: [] },
      },
    )
    try {
      const result = await client.send({ path: '/api/v4/personal_access_tokens/self', token })
      if (result.kind === 'answer') return { status: result.status }
      t.equal(result.mayHaveActed, false)
      return { ...result, refusal: refusalOf(result, baseUrl) }
    } finally {
      client.close()
    }
  }

  t.test('reaches GitLab by its name, and the proxy sees no token', async (t) => {
    t.match(await ask({}), { status: 200 })
    t.same(proxy.asked, [`CONNECT gitlab.example.com:${port}`])
    t.same(proxy.authorizations, [`Basic ${Buffer.from('user:FAKE').toString('base64')}`])
    t.notOk(Buffer.concat(proxy.sent).includes(token))
    t.ok(proxy.sent.length > 0)
  })

  t.test('checks the certificate of GitLab, not of the proxy', async (t) => {
    const answer = await ask({ baseUrl: `https://other.example.com:${port}` })
    t.match(answer, { reason: 'tls_not_trusted', tlsFault: 'wrong_host_name' })
    t.match(await ask({ caCertificate: null }), { reason: 'tls_not_trusted', tlsFault: 'self_signed' })
  })

  t.test('asks the proxy for no address that is not allowed', async (t) => {
    proxy.asked.length = 0
    const closed = { allowPrivateNetwork: false }
    for (const [profile, address] of [
      [closed, '127.0.0.1'],
      [closed, '10.0.0.7'],
      [{}, '169.254.169.254'],
      [{ ...closed, baseUrl: 'https://10.0.0.7' }, '127.0.0.1'],
      [{ baseUrl: 'https://169.254.169.254' }, '127.0.0.1'],
      [{ baseUrl: 'https://[fd00:ec2::254]' }, '127.0.0.1'],
      [{ ...closed, proxyUrl: proxy.url, baseUrl: 'https://127.0.0.1' }, '127.0.0.1'],
    ] as const)
      t.match(await ask(profile, address), { reason: 'address_not_allowed' }, JSON.stringify(profile))
    t.match(await ask({ ...closed, baseUrl: 'https://gitlab.nowhere' }), {
      reason: 'proxy_failed',
      proxyFault: 'name_not_resolved',
      refusal: { code: 'gitlab_unavailable', detail: /allow_private_network/ },
    })
    t.same(proxy.asked, [])
    t.match(await ask({ baseUrl: `https://gitlab.nowhere:${port}` }), { status: 200 }, 'an admin allowed it')
  })

  t.test('tells the proxy and GitLab apart', async (t) => {
    const html = '<html>FAKE blocked by policy glpat-FAKE</html>'
    const headers = 'Proxy-Authenticate: Basic realm="FAKE"\r\n'
    for (const [behaviour, proxyFault, detail] of [
      [{ status: 407, headers }, 'credentials_required', /asks for credentials/],
      [{ status: 403, body: html }, 'refused', /refused to connect to it \(403\)/],
      [{ status: 302, headers: 'Location: https://login.example.com/\r\n' }, 'refused', /\(302\)/],
      [{ status: 401, body: '{"message":"401 Unauthorized"}' }, 'refused', /\(401\)/],
      [{ status: 200, body: html }, 'refused', /refused/],
      [{ status: 502 }, 'target_unreachable', /cannot reach it \(502\)/],
      [{ status: 503 }, 'target_unreachable', /cannot reach it/],
      ['cut', 'proxy_unreachable', /cannot be reached/],
      ['hang', 'proxy_unreachable', /does not answer/],
    ] as const) {
      proxy.behaviour = behaviour
      const answer = await ask({})
      t.match(answer, { reason: 'proxy_failed', proxyFault, refusal: { code: 'gitlab_unavailable', detail } })
      t.notMatch(JSON.stringify(answer), 'FAKE')
    }
    proxy.behaviour = undefined
    t.match(await ask({ proxyUrl: 'http://127.0.0.1:1' }), { proxyFault: 'proxy_unreachable' })
    t.match(await ask({ proxyUrl: 'http://169.254.169.254' }), { reason: 'address_not_allowed' })
  })
})

t.test('an instance with a proxy', async (t) => {
  const broker = await startTestBroker(t)
  const { certificate, key } = makeCertificate()
  const simulator = await startSimulator({
    repositories: false,
    now: broker.clock,
    tls: { key, cert: certificate },
  })
  t.teardown(() => simulator.close())
  const proxy = await startConnectProxy(t)
  const wanted = { base_url: simulator.url, allow_private_network: true, ca_certificate: certificate }
  const instance = await broker.post('/v1/instances', { ...wanted, proxy_url: `${proxy.url}/` })
  t.match(instance, { status: 201, body: { proxy_url: proxy.url } })
  const path = `/v1/instances/${instance.body.id}`

  t.test('is called through it, by the OAuth client too', async (t) => {
    await broker.post('/v1/oauth-apps', {
      slug: 'private',
      instance_id: instance.body.id,
      client_id: 'simulator-client',
      client_secret: 'gloas-FAKE-simulator-client-secret',
    })
    const issued = simulator.world.issueOAuthToken({
      username: 'maria',
      clientId: 'simulator-client',
      scopes: ['read_repository'],
    })
    const { status, body } = await broker.post('/v1/connections/oauth-token', {
      organization: 'acme',
      base_url: simulator.url,
      access_token: issued.accessToken,
      refresh_token: issued.refreshToken,
      oauth_app: 'private',
    })
    t.equal(status, 201)
    const { host } = new URL(simulator.url)
    t.ok(
      proxy.asked.length > 0 && proxy.asked.every((line) => line === `CONNECT ${host}`),
      proxy.asked.join(),
    )
    proxy.behaviour = { status: 407 }
    await broker.request('PATCH', path, { body: { name: 'renamed' } })
    broker.clock.advance(7_300)
    const credential = `/v1/connections/${body.id}/credential`
    const away = await broker.get(credential)
    t.match(away, { status: 503, body: { code: 'gitlab_unavailable' } })
    const verified = await broker.post(`/v1/tokens/verify`, {
      base_url: simulator.url,
      token: 'glpat-FAKE-0123',
    })
    t.match(verified.body, { reason: 'gitlab_unavailable', detail: /asks for credentials/ })
    proxy.behaviour = undefined
    broker.clock.advance(120)
    await broker.request('PATCH', path, { body: { name: 'again' } })
    const refreshed = await broker.get(credential)
    t.match(refreshed, { status: 200, body: { token_version: 2 } })
    const seen = Buffer.concat(proxy.sent)
    t.notOk(seen.includes(refreshed.body.token) || seen.includes(issued.refreshToken))
  })

  t.test('takes no credentials, no other scheme, and no plain http', async (t) => {
    const change = (proxy_url: unknown) => broker.request('PATCH', path, { body: { proxy_url } })
    for (const [proxy_url, message] of [
      ['http://user:FAKE-secret@proxy.example.com:3128', /must not hold credentials.*HTTPS_PROXY/],
      ['http://FAKE-secret@proxy.example.com', /must not hold credentials/],
      ['socks5://proxy.example.com', /not the URL of a proxy/],
      ['http://proxy.example.com/FAKE-secret', /a proxy alone/],
      ['http://proxy.example.com?FAKE-secret', /a proxy alone/],
      ['http://169.254.169.254:80', /no proxy/],
      ['http://[fd00:ec2::254]', /no proxy/],
      ['http://', /not the URL/],
      [' ', /not the URL/],
    ] as const) {
      const answer = await change(proxy_url)
      t.match(answer, { status: 400, body: { errors: [{ field: 'proxy_url', message }] } }, proxy_url)
      t.notMatch(answer.text, 'FAKE-secret')
    }
    for (const wrong of ['', 7, {}, 'x'.repeat(2_001)])
      t.match(await change(wrong), { status: 400 }, 'a wrong type or length')
    t.match(await change('proxy.example.com:3128'), { body: { proxy_url: 'http://proxy.example.com:3128' } })
    t.match(await change(null), { status: 200, body: { proxy_url: null } })
    const plain = { base_url: 'http://gitlab.internal', allow_private_network: true, proxy_url: proxy.url }
    const refused = await broker.post('/v1/instances', plain)
    t.match(refused, { status: 400, body: { errors: [{ field: 'proxy_url', message: /https/ }] } })
    const made = await broker.post('/v1/instances', { ...plain, proxy_url: null })
    const later = await broker.request('PATCH', `/v1/instances/${made.body.id}`, {
      body: { proxy_url: proxy.url },
    })
    t.match(later, { status: 400, body: { errors: [{ field: 'proxy_url' }] } })
  })
})
