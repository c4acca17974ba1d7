import t from 'tap'
import { asPrivateToken, call, startGitLab } from './gitlab-client.ts'

const post = (url: string, body: object) =>
  call(url, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })

t.test('a token made over HTTP works, and is listed with the rest of the world', async (t) => {
  const gitlab = await startGitLab(t)
  const control = `${gitlab.url}/-/simulator`
  const made = await post(`${control}/access-tokens`, {
    kind: 'personal',
    username: 'tom',
    scopes: ['read_user'],
    expires_at: '2030-06-01',
  })
  t.equal(made.status, 201)
  const token = String(made.json.token)
  t.match((await call(`${gitlab.url}/api/v4/user`, asPrivateToken(token))).json, { username: 'tom' })
  t.match((await call(control)).json, {
    url: gitlab.url,
    users: [{ username: 'maria' }, { username: 'tom' }, { username: 'blake', state: 'blocked' }],
    oauth_apps: [{ client_id: 'simulator-client' }],
    access_tokens: [{ token, username: 'tom', scopes: ['read_user'], expires_at: '2030-06-01' }],
    groups: [{ full_path: 'acme' }, { full_path: 'acme/platform' }, { full_path: 'globex' }],
    repositories: [{ url: `${gitlab.url}/acme/web-shop.git` }],
  })
  t.match(await post(`${control}/access-tokens`, { username: 'nobody' }), {
    status: 400,
    json: { message: 'there is no user nobody' },
  })
})

t.test('the clock is moved over HTTP', async (t) => {
  const gitlab = await startGitLab(t)
  const { json } = await post(`${gitlab.url}/-/simulator/clock`, { advance_seconds: 3600 })
  t.equal(json.now, '2030-05-10T13:00:00.000Z')
  t.equal(gitlab.clock.now(), Date.UTC(2030, 4, 10, 13))
  t.equal((await post(`${gitlab.url}/-/simulator/clock`, {})).status, 400)
})

t.test('faults are set and ended over HTTP, and never strike the control pages', async (t) => {
  const gitlab = await startGitLab(t)
  const faults = `${gitlab.url}/-/simulator/faults`
  const status = async () => (await call(`${gitlab.url}/api/v4/user`)).status
  const rule = { match: { path_pattern: '.*' }, times: 'always', effect: { kind: 'status', status: 502 } }
  t.equal((await post(faults, rule)).status, 204)
  t.equal(await status(), 502)
  t.equal((await call(faults, { method: 'DELETE' })).status, 204)
  t.equal(await status(), 401)
  t.equal((await post(faults, { effect: { kind: 'earthquake' } })).status, 400)
  t.equal((await post(faults, { match: { path_pattern: '(' }, effect: { kind: 'hang' } })).status, 400)
})
