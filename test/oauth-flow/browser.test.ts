import t from 'tap'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { setStage } from '../support/broker.ts'
import { authorize, callBack, createSession, startOAuth } from '../support/oauth.ts'

/** `name=value; A; B=c` as attributes in lower case. */
const attributesOf = (line: string): Record<string, string> => {
  const [pair = '', ...attributes] = line.split(/; */)
  return {
    name: pair.split('=')[0]!,
    ...Object.fromEntries(
      attributes.map((attribute) => {
        const [name = '', value = ''] = attribute.split('=')
        return [name.toLowerCase(), value]
      }),
    ),
  }
}

t.test('over http on loopback the cookies are bound to the path of the app', async (t) => {
  const stage = await setStage(t)
  const { setCookies } = await startOAuth(stage.broker, await createSession(stage.broker))
  t.match(
    setCookies.map(attributesOf).map(({ name }) => name),
    [/^oauth-state-simulator-[0-9a-f]{12}$/, /^oauth-verifier-simulator-[0-9a-f]{12}$/],
    'with the name of the flow',
  )
  for (const line of setCookies) {
    const attributes = attributesOf(line)
    t.match(attributes, { path: '/oauth/simulator', samesite: 'Lax', 'max-age': '600' }, line)
    t.ok('httponly' in attributes)
    t.notOk('secure' in attributes)
    t.notOk('domain' in attributes)
  }
})

t.test('over https they are __Host- cookies, as a browser demands: Secure, Path=/, no Domain', async (t) => {
  const publicUrl = 'https://broker.example.com'
  const stage = await setStage(t, { broker: { config: { publicUrl } } })
  stage.simulator.world.addApp({ ...SEEDED_APP, redirectUris: [`${publicUrl}/oauth/simulator/callback`] })
  const { callback, cookie, setCookies } = await authorize(stage)
  t.equal(setCookies.length, 2)
  for (const line of setCookies) {
    const attributes = attributesOf(line)
    t.match(
      attributes,
      { name: /^__Host-oauth-(state|verifier)-simulator-[0-9a-f]{12}$/, path: '/', samesite: 'Lax' },
      line,
    )
    t.ok('httponly' in attributes && 'secure' in attributes)
    t.notOk('domain' in attributes)
  }
  t.equal(callback.origin, publicUrl)
  const end = await callBack(stage.broker, callback, cookie)
  t.match(end, { page: `${publicUrl}/connect`, status: 'connected' })
  const cleared = end.answer.headers
    .getSetCookie()
    .map(attributesOf)
    .filter((attributes) => attributes['max-age'] === '0')
  t.match(
    cleared,
    [{ name: /^__Host-oauth-verifier-simulator-/ }, { name: /^__Host-oauth-state-simulator-/ }],
    'the cookies are cleared',
  )
  for (const attributes of cleared) t.equal(attributes.path, '/')
})

t.test('behind a path the cookies are Secure and bound to it', async (t) => {
  const publicUrl = 'https://platform.example.com/gitlab-broker'
  const { broker } = await setStage(t, { broker: { config: { publicUrl } } })
  const { setCookies } = await startOAuth(broker, await createSession(broker))
  for (const line of setCookies) {
    const attributes = attributesOf(line)
    t.match(attributes, { name: /^oauth-/, path: '/gitlab-broker/oauth/simulator' }, line)
    t.ok('secure' in attributes)
  }
})

t.test('an allowed return_url hears how it ended, and keeps its own parameters', async (t) => {
  const stage = await setStage(t)
  const return_url = 'https://app.example.com/settings?tab=gitlab'
  for (const [deny, expected] of [
    [true, { status: 'failed', code: 'access_denied', id: null }],
    [false, { status: 'connected', code: null, id: /^[0-9a-f-]{36}$/ }],
  ] as const) {
    const { callback, cookie } = await authorize(stage, { return_url, deny })
    const end = await callBack(stage.broker, callback, cookie)
    t.match(end, { page: 'https://app.example.com/settings', ...expected })
    t.match(end.answer.headers.get('location'), 'tab=gitlab')
  }
})

t.test('a return_url of a foreign origin is refused when the link is made', async (t) => {
  const { broker } = await setStage(t)
  for (const return_url of [
    'https://evil.example.com/',
    'https://app.example.com.evil.example/',
    'http://app.example.com/',
    'https://app.example.com:8443/',
    'https://FAKE@app.example.com/',
    'https://app.example.com/#fragment',
    '//app.example.com/',
    'javascript:alert(1)',
    'app.example.com',
    '',
  ]) {
    const answer = await broker.post('/v1/connect-sessions', { organization: 'acme', return_url })
    t.match(answer, { status: 400, body: { code: 'invalid_request', errors: [{ field: 'return_url' }] } })
  }
  t.equal((await broker.db.selectFrom('connect_sessions').select('id').execute()).length, 0)
})

t.test('a redirect of GitLab is not followed, neither with a code nor with a token', async (t) => {
  const stage = await setStage(t)
  const elsewhere = await setStage(t)
  elsewhere.simulator.requests.clear()
  const location = `${elsewhere.simulator.url}/api/v4/user`
  const headers = { location, 'content-type': 'text/html' }
  const effect = { kind: 'status', status: 302, body: '<html>Moved</html>', headers } as const
  for (const path of ['/oauth/token', '/oauth/token/info', '/api/v4/user']) {
    const { callback, cookie } = await authorize(stage)
    stage.simulator.faults.add({ match: { path }, effect })
    const end = await callBack(stage.broker, callback, cookie)
    t.match(end, { status: 'failed', code: 'not_a_gitlab' }, path)
  }
  t.same(elsewhere.simulator.requests.all(), [], 'nothing went there')
})
