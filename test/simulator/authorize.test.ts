import t from 'tap'
import { approve } from '../../simulator/browser.ts'
import { authorizeUrl, CALLBACK, call, exchange, getCode, grantTo, startGitLab } from './gitlab-client.ts'

t.test('a person who approves is sent back with a code and the state', async (t) => {
  const gitlab = await startGitLab(t)
  const back = new URL(await approve(authorizeUrl(gitlab), { username: 'maria' }))
  t.equal(back.origin + back.pathname, CALLBACK)
  t.match(back.searchParams.get('code'), /^[0-9a-f]{64}$/)
  t.equal(back.searchParams.get('state'), 'a-state')
})

t.test('a person who denies is sent back with access_denied and the state', async (t) => {
  const gitlab = await startGitLab(t)
  const back = new URL(await approve(authorizeUrl(gitlab), { username: 'maria', deny: true }))
  t.strictSame(Object.fromEntries(back.searchParams), {
    error: 'access_denied',
    error_description: 'The resource owner or authorization server denied the request.',
    state: 'a-state',
  })
})

t.test('a bad authorization request gets an error page with status 200 and no redirect', async (t) => {
  const gitlab = await startGitLab(t)
  const bad = {
    'unknown client': { client_id: 'nobody' },
    'missing client': { client_id: undefined },
    'foreign redirect': { redirect_uri: 'http://127.0.0.1:8080/elsewhere' },
    'redirect to another host': { redirect_uri: 'http://127.0.0.2:8080/oauth/simulator/callback' },
    'missing redirect': { redirect_uri: undefined },
    'unknown scope': { scope: 'read_api everything' },
    'other response type': { response_type: 'token' },
    'challenge without method': { code_challenge_method: undefined },
    'challenge too long': { code_challenge: 'a'.repeat(129) },
  }
  for (const [name, changes] of Object.entries(bad)) {
    const { status, headers, text } = await call(authorizeUrl(gitlab, changes))
    t.equal(status, 200, name)
    t.match(headers.get('content-type'), 'text/html', name)
    t.match(text, 'An error has occurred', name)
  }
})

t.test('a scope outside of what the app may ask for is refused', async (t) => {
  const app = { clientId: 'narrow', clientSecret: 'FAKE', redirectUris: [CALLBACK], scopes: ['read_user'] }
  const gitlab = await startGitLab(t, { apps: [app] })
  await t.rejects(
    approve(authorizeUrl(gitlab, { client_id: 'narrow', scope: 'api' }), { username: 'maria' }),
    /scope is invalid/,
  )
})

t.test('without a scope the app gets api', async (t) => {
  const gitlab = await startGitLab(t)
  const { json } = await exchange(gitlab, await getCode(gitlab, { scope: undefined }))
  t.equal(json.scope, 'api')
})

t.test('consent is skipped, by a page and not by a redirect', async (t) => {
  const trusted = { clientId: 'trusted', clientSecret: 'FAKE', redirectUris: [CALLBACK], trusted: true }
  const gitlab = await startGitLab(t, { apps: [trusted] })
  const signIn = await call(`${gitlab.url}/users/sign_in`, {
    method: 'POST',
    body: new URLSearchParams({ username: 'maria' }),
  })
  const cookie = signIn.headers.getSetCookie()[0]?.split(';')[0] ?? ''
  const visit = (changes = {}) => call(authorizeUrl(gitlab, changes), { headers: { cookie } })

  await t.test('for a trusted app', async (t) => {
    const { status, text } = await visit({ client_id: 'trusted' })
    t.equal(status, 200)
    t.match(text, /http-equiv="refresh" content="0; url=http:\/\/127\.0\.0\.1:45678/)
  })
  await t.test('for an app whose user holds a live token of the same scopes', async (t) => {
    t.match((await visit()).text, 'Authorize simulator-client')
    grantTo(gitlab, 'maria', ['read_user', 'read_api'])
    t.match((await visit()).text, 'http-equiv="refresh"')
    t.match((await visit({ scope: 'read_user' })).text, 'Authorize simulator-client')
  })
  await t.test('no longer, when that token is revoked', async (t) => {
    const second = grantTo(gitlab, 'maria', ['read_user'])
    t.match((await visit({ scope: 'read_user' })).text, 'http-equiv="refresh"')
    gitlab.world.revokeToken(second.refreshToken)
    t.match((await visit({ scope: 'read_user' })).text, 'Authorize simulator-client')
  })
})

t.test('a blocked person cannot sign in', async (t) => {
  const gitlab = await startGitLab(t)
  await t.rejects(approve(authorizeUrl(gitlab), { username: 'blake' }), /Your account has been blocked/)
})

t.test('signing in leads only to a path of this GitLab', async (t) => {
  const gitlab = await startGitLab(t, { path: '/gitlab' })
  const signIn = async (return_to: string) => {
    const body = new URLSearchParams({ username: 'maria', return_to })
    return (await call(`${gitlab.url}/users/sign_in`, { method: 'POST', body })).headers.get('location')
  }
  t.equal(await signIn('/gitlab/oauth/authorize?x=1'), '/gitlab/oauth/authorize?x=1')
  for (const elsewhere of ['https://evil.example', '//evil.example', '/\\evil.example', '/other']) {
    t.equal(await signIn(elsewhere), '/gitlab/-/simulator', elsewhere)
  }
})

t.test('what a link carries is shown as text, not as markup', async (t) => {
  const gitlab = await startGitLab(t)
  const { text } = await call(authorizeUrl(gitlab, { state: '"><script>alert(1)</script>' }))
  t.notMatch(text, '<script>')
})
