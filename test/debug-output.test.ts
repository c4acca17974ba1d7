import t from 'tap'
import { startSimulator } from '../simulator/simulator.ts'
import { SCANNER_SCOPES } from './support/connect.ts'
import { freePort } from './support/postgres.ts'
import { startMain } from './support/process.ts'

const ADMIN_KEY = 'FAKE-admin-key-0123456789-0123456789'
const CLIENT_SECRET = 'gloas-FAKE-simulator-client-secret'

t.test('DEBUG makes no library print the secrets that it is given', async (t) => {
  const simulator = await startSimulator({ repositories: false })
  t.teardown(() => simulator.close())
  const port = await freePort()
  const broker = startMain(t, {
    DATA_DIR: t.testdir({}),
    PORT: String(port),
    BOOTSTRAP_ADMIN_KEY: ADMIN_KEY,
    DEBUG: '*',
  })
  await broker.said(/"msg":"ready"|"msg":"listening"/)
  const post = async (path: string, body: object = {}) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return { status: answer.status, body: (await answer.json()) as { id: string } }
  }
  const instance = await post('/v1/instances', { base_url: simulator.url, allow_private_network: true })
  t.equal(instance.status, 201, JSON.stringify(instance.body))
  const app = await post('/v1/oauth-apps', {
    slug: 'simulator',
    instance_id: instance.body.id,
    client_id: 'simulator-client',
    client_secret: CLIENT_SECRET,
    scopes: SCANNER_SCOPES,
  })
  t.equal(app.status, 201, JSON.stringify(app.body))
  const { accessToken, refreshToken } = simulator.world.issueOAuthToken({
    username: 'maria',
    clientId: 'simulator-client',
    scopes: SCANNER_SCOPES,
  })
  const connection = await post('/v1/connections/oauth-token', {
    organization: 'acme',
    base_url: simulator.url,
    access_token: accessToken,
    refresh_token: refreshToken,
    oauth_app: 'simulator',
  })
  t.equal(connection.status, 201, JSON.stringify(connection.body))
  t.equal((await post(`/v1/connections/${connection.body.id}/refresh`)).status, 200)
  t.equal(simulator.requests.count({ grantType: 'refresh_token' }), 1)
  const { output, errors } = await broker.stop()
  for (const secret of [CLIENT_SECRET, accessToken, refreshToken, ADMIN_KEY])
    t.notOk(`${output}${errors}`.includes(secret ?? ''), 'no secret is printed')
})
