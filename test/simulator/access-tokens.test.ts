import t from 'tap'
import type { Simulator } from '../../simulator/simulator.ts'
import { asBearer, asPrivateToken, call, EXPIRED, grantTo, REVOKED, startGitLab } from './gitlab-client.ts'

const self = ({ url }: Simulator, token: string) =>
  call(`${url}/api/v4/personal_access_tokens/self`, asPrivateToken(token))

const rotate = ({ url }: Simulator, token: string, body?: object) =>
  call(`${url}/api/v4/personal_access_tokens/self/rotate`, {
    method: 'POST',
    headers: { 'private-token': token, 'content-type': 'application/json' },
    ...(body ? { body: JSON.stringify(body) } : {}),
  })

const create = ({ world }: Simulator, scopes: string[], expiresAt: string | null = '2030-12-31') =>
  world.createAccessToken({ kind: 'personal', username: 'maria', scopes, expiresAt }).token

t.test('a token of any scope may ask about itself', async (t) => {
  const gitlab = await startGitLab(t)
  const token = create(gitlab, ['read_repository'])
  t.match(token, /^glpat-FAKE-[\w-]{15}$/)
  const { status, json } = await self(gitlab, token)
  t.equal(status, 200)
  t.strictSame(json, {
    id: 1,
    name: 'simulator',
    revoked: false,
    created_at: '2030-05-10T12:00:00.000Z',
    description: null,
    scopes: ['read_repository'],
    user_id: 1,
    last_used_at: '2030-05-10T12:00:00.000Z',
    active: true,
    expires_at: '2030-12-31',
  })
  t.equal(
    (await call(`${gitlab.url}/api/v4/personal_access_tokens/self`, asBearer(token))).status,
    200,
    'as Bearer',
  )
})

t.test('unknown, expired and revoked tokens are told apart', async (t) => {
  const gitlab = await startGitLab(t)
  t.match(await self(gitlab, 'glpat-FAKE-unknown'), { status: 401, json: { message: '401 Unauthorized' } })
  const [revoked, expiring] = [create(gitlab, ['api']), create(gitlab, ['api'], '2030-05-11')]
  gitlab.world.revokeToken(revoked)
  t.match(await self(gitlab, revoked), { status: 401, json: REVOKED })
  gitlab.clock.advance(12 * 3600 - 1)
  t.equal((await self(gitlab, expiring)).status, 200, 'lives on the eve of its date')
  gitlab.clock.advance(1)
  t.match(await self(gitlab, expiring), { status: 401, json: EXPIRED }, 'dies at 00:00 UTC on its date')
  t.equal(gitlab.world.tokenState(expiring), 'expired')
})

t.test('a token without an expiry lives on', async (t) => {
  const gitlab = await startGitLab(t)
  const token = create(gitlab, ['api'], null)
  gitlab.clock.advance(10 * 365 * 86_400)
  t.match(await self(gitlab, token), { status: 200, json: { expires_at: null } })
})

t.test('rotation answers a new token with the expiry asked for, and revokes the old one', async (t) => {
  const gitlab = await startGitLab(t)
  for (const scope of ['api', 'self_rotate']) {
    const old = create(gitlab, [scope])
    const { status, json } = await rotate(gitlab, old, { expires_at: '2031-01-31' })
    t.equal(status, 200)
    t.match(json, { scopes: [scope], expires_at: '2031-01-31', active: true, token: /^glpat-FAKE-/ })
    t.equal(gitlab.world.tokenState(String(json.token)), 'active')
    t.equal(gitlab.world.tokenState(old), 'revoked')
  }
})

t.test('rotation without an expiry gives one week', async (t) => {
  const gitlab = await startGitLab(t)
  t.equal((await rotate(gitlab, create(gitlab, ['api']))).json.expires_at, '2030-05-17')
})

t.test('rotation refuses an expiry beyond 365 days, in the past, or that is no date', async (t) => {
  const gitlab = await startGitLab(t)
  const token = create(gitlab, ['api'])
  for (const expires_at of ['2031-05-11', '2030-05-10', 'soon']) {
    t.equal((await rotate(gitlab, token, { expires_at })).status, 400, expires_at)
  }
  t.equal(gitlab.world.tokenState(token), 'active')
})

t.test('rotation needs the scope for it, and an access token', async (t) => {
  const gitlab = await startGitLab(t)
  const refused = await rotate(gitlab, create(gitlab, ['read_api', 'read_repository']))
  t.equal(refused.status, 403)
  t.equal(refused.json.error, 'insufficient_scope')
  t.strictSame(new Set(String(refused.json.scope).split(' ')), new Set(['api', 'self_rotate']))
  const { accessToken } = grantTo(gitlab, 'maria', ['api'])
  const url = `${gitlab.url}/api/v4/personal_access_tokens/self/rotate`
  t.equal((await call(url, { method: 'POST', ...asBearer(accessToken) })).status, 405)
})

t.test('rotating a rotated token again revokes its live successor', async (t) => {
  const gitlab = await startGitLab(t)
  const first = create(gitlab, ['api'])
  const second = String((await rotate(gitlab, first)).json.token)
  const third = String((await rotate(gitlab, second)).json.token)
  t.match(await self(gitlab, first), { status: 401, json: REVOKED })
  t.equal(gitlab.world.tokenState(third), 'active', 'asking about the old token does no harm')
  t.match(await rotate(gitlab, first), { status: 401, json: REVOKED })
  t.equal(gitlab.world.tokenState(third), 'revoked')
  t.match(
    gitlab.world.events.map(({ kind, generation }) => [kind, generation]),
    [
      ['issued', 1],
      ['rotated', 2],
      ['rotated', 3],
      ['replay_of_rotated_access_token', 1],
      ['revoked', 3],
    ],
  )
})

t.test('a token may revoke itself, once', async (t) => {
  const gitlab = await startGitLab(t)
  const url = `${gitlab.url}/api/v4/personal_access_tokens/self`
  const init = { method: 'DELETE', ...asPrivateToken(create(gitlab, ['read_user'])) }
  t.equal((await call(url, init)).status, 204)
  t.equal((await call(url, init)).status, 401)
})

t.test('an OAuth token is no personal access token', async (t) => {
  const gitlab = await startGitLab(t)
  const { accessToken } = grantTo(gitlab, 'maria', ['api'])
  t.match(await call(`${gitlab.url}/api/v4/personal_access_tokens/self`, asBearer(accessToken)), {
    status: 400,
    json: { message: '400 Bad request - This endpoint requires token type to be a personal access token' },
  })
  t.equal((await self(gitlab, accessToken)).status, 401, 'and no PRIVATE-TOKEN')
})

t.test('group and project tokens belong to bots and reach what is theirs', async (t) => {
  const gitlab = await startGitLab(t)
  const places = [
    { kind: 'group', path: 'acme', bot: /^group_1_bot_/, projects: ['acme/platform/api', 'acme/web-shop'] },
    { kind: 'group', path: 'acme/platform', bot: /^group_2_bot_/, projects: ['acme/platform/api'] },
    { kind: 'project', path: 'acme/web-shop', bot: /^project_1_bot_/, projects: ['acme/web-shop'] },
  ] as const
  for (const { kind, path, bot, projects } of places) {
    const { token } = gitlab.world.createAccessToken({ kind, path, scopes: ['read_api', 'read_user'] })
    const get = (path: string) => call(`${gitlab.url}/api/v4${path}`, asPrivateToken(token))
    t.match((await get('/user')).json, { bot: true, username: bot })
    const reached = (await get('/projects?membership=true')).json as unknown as Array<{
      path_with_namespace: string
    }>
    t.strictSame(reached.map((project) => project.path_with_namespace).sort(), projects)
    t.equal((await self(gitlab, token)).status, 200)
    t.equal((await get('/projects/globex%2Fsite')).status, 404)
  }
})

t.test('the associations list what a token reaches, and without a level the public ones too', async (t) => {
  const gitlab = await startGitLab(t)
  const token = create(gitlab, ['read_user'])
  const ask = async (query: string) => {
    const url = `${gitlab.url}/api/v4/personal_access_tokens/self/associations${query}`
    const { groups, projects } = (await call(url, asPrivateToken(token))).json as {
      groups: Array<{ name: string; access_levels: number }>
      projects: Array<{ path_with_namespace: string; access_levels: object }>
    }
    return {
      groups: groups.map(({ name }) => name),
      projects: projects.map((project) => project.path_with_namespace),
    }
  }
  const own = { groups: ['acme', 'platform'], projects: ['acme/web-shop', 'acme/platform/api'] }
  t.strictSame(await ask('?min_access_level=20'), own)
  t.strictSame(await ask('?min_access_level=40'), { groups: [], projects: [] })
  t.strictSame(await ask(''), {
    groups: [...own.groups, 'globex'],
    projects: [...own.projects, 'globex/public-docs'],
  })
  t.strictSame(await ask('?min_access_level=20&per_page=1&page=2'), {
    groups: ['platform'],
    projects: ['acme/platform/api'],
  })
})
