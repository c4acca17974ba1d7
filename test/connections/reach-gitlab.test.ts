import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { startSimulator } from '../../simulator/simulator.ts'
import { setStage, startTestBroker } from '../support/broker.ts'
import { makeCertificate } from '../support/certificate.ts'
import { SCANNER_SCOPES } from '../support/connect.ts'
import { freePort } from '../support/postgres.ts'

const token = 'glpat-FAKE-0123456789'

t.test('the way to a GitLab', async (t) => {
  const { broker, simulator, instanceId } = await setStage(t)
  const connect = (base_url: string, pasted = token) =>
    broker.post('/v1/connections/personal-access-token', { organization: 'acme', base_url, token: pasted })
  const instances = async () => (await broker.get('/v1/instances')).body.items.length

  t.test('leads to no private address that an admin has not allowed', async (t) => {
    const before = await instances()
    const { port } = new URL(simulator.url)
    for (const base_url of [
      `http://localhost:${port}`,
      `https://127.0.0.1:${port}`,
      `http://[::1]:${port}`,
      'https://10.0.0.7',
      'https://192.168.1.1',
      'https://169.254.169.254',
      'https://[fd00::1]',
      'https://0.0.0.0',
      'https://2130706433',
      'http://gitlab.example.com',
    ]) {
      const answer = await connect(base_url)
      t.match(answer, { status: 422, body: { code: 'address_not_allowed' } }, base_url)
      t.match(answer.body.detail, 'allow_private_network')
    }
    t.equal(await instances(), before, 'and none of them is remembered')
  })

  t.test('leads to no metadata service of a cloud, whatever is allowed', async (t) => {
    const base_url = 'http://169.254.169.254'
    await broker.post('/v1/instances', { base_url, allow_private_network: true })
    t.equal((await connect(base_url)).body.code, 'address_not_allowed')
  })

  t.test('is closed at once when an admin takes the permission back', async (t) => {
    const { token: good } = simulator.world.createAccessToken({
      kind: 'personal',
      username: 'maria',
      scopes: SCANNER_SCOPES,
    })
    const allow = (allow_private_network: boolean) =>
      broker.request('PATCH', `/v1/instances/${instanceId}`, { body: { allow_private_network } })
    t.equal((await connect(simulator.url, good)).status, 201)
    await allow(false)
    t.equal((await connect(simulator.url, good)).body.code, 'address_not_allowed')
    await allow(true)
    t.equal((await connect(simulator.url, good)).status, 200)
  })

  t.test('may end where nobody listens', async (t) => {
    const base_url = `http://127.0.0.1:${await freePort()}`
    await broker.post('/v1/instances', { base_url, allow_private_network: true })
    const answer = await connect(base_url)
    t.match(answer, { status: 503, body: { code: 'gitlab_unavailable' } })
    t.ok(Number(answer.headers.get('retry-after')) >= 1)
  })

  t.test('may end at a web server that is no GitLab', async (t) => {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`)
      if (request.url?.startsWith('/moved'))
        response.writeHead(302, { location: `${simulator.url}/api/v4/user` })
      else response.writeHead(200, { 'content-type': 'text/html' })
      response.end('<h1>It works!</h1>')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => server.close())
    const { port } = server.address() as AddressInfo
    for (const path of ['', '/moved']) {
      const base_url = `http://127.0.0.1:${port}${path}`
      await broker.post('/v1/instances', { base_url, allow_private_network: true })
      simulator.requests.clear()
      t.match(await connect(base_url), { status: 422, body: { code: 'not_a_gitlab' } }, path)
      t.equal(simulator.requests.count(), 0, 'no redirect is followed with a token')
    }
    t.equal(asked.length, 2)
  })
})

t.test('an answer larger than any of a GitLab is not_a_gitlab, and no outage', async (t) => {
  const broker = await startTestBroker(t)
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ padding: 'x'.repeat(1_100_000) }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const base_url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  await broker.post('/v1/instances', { base_url, allow_private_network: true })
  const { body } = await broker.post('/v1/tokens/verify', { base_url, token })
  t.match(body, { valid: false, reason: 'not_a_gitlab' })
})

t.test('a private certificate authority', async (t) => {
  const broker = await startTestBroker(t)
  const { certificate, key } = makeCertificate()
  const simulator = await startSimulator({
    repositories: false,
    now: broker.clock,
    tls: { key, cert: certificate },
  })
  t.teardown(() => simulator.close())
  t.match(simulator.url, /^https:/)
  const instance = await broker.post('/v1/instances', {
    base_url: simulator.url,
    allow_private_network: true,
  })
  const path = `/v1/instances/${instance.body.id}`
  const made = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: SCANNER_SCOPES,
  })
  const connect = () =>
    broker.post('/v1/connections/personal-access-token', {
      organization: 'acme',
      base_url: simulator.url,
      token: made.token,
    })
  const trust = (ca_certificate: string | null) => broker.request('PATCH', path, { body: { ca_certificate } })

  t.test('is not trusted until an admin adds it, nor is another', async (t) => {
    t.match(await connect(), { status: 422, body: { code: 'tls_not_trusted' } })
    await trust(makeCertificate().certificate)
    t.match(await connect(), { status: 422, body: { code: 'tls_not_trusted' } })
    t.equal(simulator.requests.count(), 0, 'no token went there')
    await trust(certificate)
    t.match(await connect(), { status: 201, body: { base_url: simulator.url } })
  })

  t.test('is trusted by the OAuth client too, and for no other name', async (t) => {
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
    const { body } = await broker.post('/v1/connections/oauth-token', {
      organization: 'acme',
      base_url: simulator.url,
      access_token: issued.accessToken,
      refresh_token: issued.refreshToken,
      oauth_app: 'private',
    })
    broker.clock.advance(7_300)
    const credential = await broker.get(`/v1/connections/${body.id}/credential`)
    t.match(credential, { status: 200, body: { token_version: 2 } })
    t.equal(simulator.world.tokenState(credential.body.token), 'active')

    const base_url = simulator.url.replace('127.0.0.1', 'localhost')
    await broker.post('/v1/instances', { base_url, allow_private_network: true, ca_certificate: certificate })
    const answer = await broker.post('/v1/tokens/verify', { base_url, token: made.token })
    t.match(answer.body, { valid: false, reason: 'tls_not_trusted' })
  })
})
