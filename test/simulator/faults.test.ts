import t from 'tap'
import { asBearer, call, grantTo, INVALID_GRANT, refresh, startGitLab } from './gitlab-client.ts'

const TOKEN = { path: '/oauth/token', grantType: 'refresh_token' }

t.test('cut-before loses the request: nothing happened', async (t) => {
  const gitlab = await startGitLab(t)
  const { refreshToken } = grantTo(gitlab)
  const rule = gitlab.faults.add({ match: TOKEN, effect: { kind: 'cut-before' } })
  await t.rejects(refresh(gitlab, refreshToken))
  t.equal(rule.fired(), 1)
  t.equal(gitlab.world.tokenState(refreshToken), 'active')
  t.equal((await refresh(gitlab, refreshToken)).status, 200, 'a rule fires once unless told otherwise')
})

t.test('cut-after loses the answer: the new pair exists', async (t) => {
  const gitlab = await startGitLab(t)
  const { refreshToken, grantId } = grantTo(gitlab)
  gitlab.faults.add({ match: TOKEN, effect: { kind: 'cut-after' } })
  await t.rejects(refresh(gitlab, refreshToken))
  t.equal(gitlab.world.tokenState(refreshToken), 'revoked')
  t.match(gitlab.world.events.at(-1), { kind: 'refreshed', grantId, generation: 2 })
  t.strictSame((await refresh(gitlab, refreshToken)).json, INVALID_GRANT)
  t.strictSame(
    gitlab.requests.all().map(({ status }) => status),
    [undefined, 400],
  )
})

t.test('hold keeps a request waiting before it is handled, hold-after after', async (t) => {
  const gitlab = await startGitLab(t)
  for (const [kind, stateWhileHeld] of [
    ['hold', 'active'],
    ['hold-after', 'revoked'],
  ] as const) {
    const { refreshToken } = grantTo(gitlab)
    const { promise, resolve } = Promise.withResolvers<void>()
    const rule = gitlab.faults.add({ match: TOKEN, effect: { kind, until: promise } })
    const answer = refresh(gitlab, refreshToken)
    while (rule.fired() === 0) await call(`${gitlab.url}/-/simulator`)
    await call(`${gitlab.url}/-/simulator`)
    t.equal(gitlab.world.tokenState(refreshToken), stateWhileHeld, kind)
    resolve()
    t.equal((await answer).status, 200)
  }
})

t.test('a hung request ends when the simulator closes', async (t) => {
  const gitlab = await startGitLab(t)
  const rule = gitlab.faults.add({ match: {}, effect: { kind: 'hang' } })
  const answer = t.rejects(call(`${gitlab.url}/api/v4/user`))
  while (rule.fired() === 0) await call(`${gitlab.url}/-/simulator`)
  await gitlab.close()
  await answer
})

t.test('answers of GitLab in trouble look as they do there', async (t) => {
  const gitlab = await startGitLab(t)
  const { accessToken, refreshToken } = grantTo(gitlab)
  const get = () => call(`${gitlab.url}/api/v4/user`, asBearer(accessToken))
  const match = { path: '/api/v4/user' }

  gitlab.faults.add({ match, effect: { kind: 'status', status: 500 } })
  t.match(await get(), { status: 500, json: { message: '500 Internal Server Error' } })
  gitlab.faults.add({
    match,
    effect: { kind: 'status', status: 502, body: '<h1>', headers: { 'Content-Type': 'text/html' } },
  })
  t.match(await get(), { status: 502, text: '<h1>' })
  gitlab.faults.add({ match, effect: { kind: 'html' } })
  t.match(await get(), { status: 200, text: /^<!DOCTYPE html>/ })
  gitlab.faults.add({ match, effect: { kind: 'rate-limit', retryAfterSeconds: 30 } })
  const limited = await get()
  t.match(limited, { status: 429, text: 'Retry later\n' })
  t.match(limited.headers.get('content-type'), 'text/plain')
  t.match(Object.fromEntries(limited.headers), {
    'retry-after': '30',
    'ratelimit-limit': /^\d+$/,
    'ratelimit-name': String,
    'ratelimit-observed': /^\d+$/,
    'ratelimit-remaining': '0',
    'ratelimit-reset': String(Date.UTC(2030, 4, 10, 12) / 1000 + 30),
    'ratelimit-resettime': 'Fri, 10 May 2030 12:00:30 GMT',
  })
  gitlab.faults.add({ match: TOKEN, effect: { kind: 'invalid-grant' } })
  t.match(await refresh(gitlab, refreshToken), { status: 400, json: INVALID_GRANT })
  t.equal(gitlab.world.tokenState(refreshToken), 'active', 'a passing invalid_grant spends nothing')
  t.equal((await get()).status, 200)
})

t.test('maintenance mode refuses writes, but not reading and not tokens', async (t) => {
  const gitlab = await startGitLab(t)
  const { token } = gitlab.world.createAccessToken({ kind: 'personal', username: 'maria', scopes: ['api'] })
  gitlab.faults.add({ match: {}, times: Number.POSITIVE_INFINITY, effect: { kind: 'maintenance' } })
  const url = `${gitlab.url}/api/v4/personal_access_tokens/self`
  t.equal((await call(url, asBearer(token))).status, 200)
  t.equal((await refresh(gitlab, grantTo(gitlab).refreshToken)).status, 200)
  for (const [path, method] of [
    [`${url}/rotate`, 'POST'],
    [url, 'DELETE'],
  ] as const) {
    t.match(await call(path, { method, ...asBearer(token) }), {
      status: 503,
      json: { message: 'GitLab Maintenance: system is in maintenance mode' },
    })
  }
  t.equal(gitlab.world.tokenState(token), 'active')
})

t.test('a rule strikes as often as told, with the chance it was given, until it is removed', async (t) => {
  const chances = [0.9, 0.1, 0.9]
  const gitlab = await startGitLab(t, { random: () => chances.shift() ?? 0 })
  const status = async (path: string) => (await call(`${gitlab.url}${path}`)).status
  const teapot = { kind: 'status', status: 418 } as const

  gitlab.faults.add({ match: { path: /^\/api/ }, times: 2, effect: teapot })
  t.strictSame(
    [await status('/api/v4/user'), await status('/api/v4/groups'), await status('/api/v4/user')],
    [418, 418, 401],
  )
  gitlab.faults.add({
    match: { method: 'get' },
    probability: 0.5,
    times: Number.POSITIVE_INFINITY,
    effect: teapot,
  })
  t.strictSame(
    [await status('/api/v4/user'), await status('/api/v4/user'), await status('/api/v4/user')],
    [401, 418, 401],
  )
  gitlab.faults.clear()
  t.equal(await status('/api/v4/user'), 401)
  const rule = gitlab.faults.add({ match: {}, times: Number.POSITIVE_INFINITY, effect: teapot })
  t.equal(await status('/api/v4/user'), 418)
  rule.remove()
  t.equal(await status('/api/v4/user'), 401)
})

t.test('the rate limit counts within a second of the clock', async (t) => {
  const gitlab = await startGitLab(t, { rateLimit: { requestsPerSecond: 3 } })
  const statuses = async () => {
    const found = []
    for (let index = 0; index < 4; index += 1) found.push((await call(`${gitlab.url}/api/v4/user`)).status)
    return found
  }
  t.strictSame(await statuses(), [401, 401, 401, 429])
  gitlab.clock.advance(1)
  t.strictSame(await statuses(), [401, 401, 401, 429])
})

t.test('the request log counts by path, method and grant type, and holds no secret', async (t) => {
  const gitlab = await startGitLab(t, { path: '/gitlab' })
  const { accessToken, refreshToken } = grantTo(gitlab)
  await refresh(gitlab, refreshToken)
  await call(`${gitlab.url}/api/v4/projects?membership=true&private_token=${accessToken}`)
  t.equal(gitlab.requests.count(), 2)
  t.equal(gitlab.requests.count({ grantType: 'refresh_token' }), 1)
  t.equal(gitlab.requests.count({ path: '/api/v4/projects', method: 'GET' }), 1)
  t.equal(gitlab.requests.count({ path: /projects/ }), 1)
  t.match(gitlab.requests.all(), [
    { method: 'POST', path: '/oauth/token', grantType: 'refresh_token', status: 200 },
    { method: 'GET', path: '/api/v4/projects', query: { membership: 'true' }, status: 401 },
  ])
  const written = JSON.stringify(gitlab.requests.all())
  for (const secret of [accessToken, refreshToken]) t.notOk(written.includes(secret))
  gitlab.requests.clear()
  t.equal(gitlab.requests.count(), 0)
})

t.test('a lie changes the answer, and nothing else', async (t) => {
  const gitlab = await startGitLab(t)
  const { refreshToken } = grantTo(gitlab)
  gitlab.faults.add({ match: TOKEN, effect: { kind: 'lie', lie: 'lifetime_as_word' } })
  const { status, json } = await refresh(gitlab, refreshToken)
  t.match({ status, json }, { status: 200, json: { expires_in: 'soon', access_token: String } })
  const accessToken = String(json.access_token)
  t.equal(gitlab.world.tokenState(accessToken), 'active')

  const told = await call(`${gitlab.url}/-/simulator/faults`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ match: { path: '/api/v4/user' }, effect: { kind: 'lie', lie: 'ids_as_words' } }),
  })
  t.equal(told.status, 204)
  t.equal((await call(`${gitlab.url}/api/v4/user`, asBearer(accessToken))).json.id, 'x')
  const unknown = await call(`${gitlab.url}/-/simulator/faults`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ effect: { kind: 'lie', lie: 'toString' } }),
  })
  t.match(unknown, { status: 400, json: { message: /^effect\.lie: html, / } })
})
