import t from 'tap'
import { asBearer, asPrivateToken, call, EXPIRED, grantTo, startGitLab } from './gitlab-client.ts'

type Place = { id: number; full_path: string; path_with_namespace: string }

t.test('each endpoint takes the scopes that are enough for it', async (t) => {
  const gitlab = await startGitLab(t)
  const status = async (path: string, ...scopes: string[]) => {
    const { accessToken } = grantTo(gitlab, 'maria', scopes)
    return (await call(`${gitlab.url}/api/v4${path}`, asBearer(accessToken))).status
  }
  for (const scope of ['api', 'read_api', 'read_user']) t.equal(await status('/user', scope), 200, scope)
  for (const scope of ['api', 'read_api']) {
    for (const path of ['/groups', '/groups/1', '/groups/1/projects', '/projects', '/projects/1']) {
      t.equal(await status(path, scope), 200, `${path} with ${scope}`)
      t.equal(await status(path, 'read_user', 'read_repository'), 403, path)
    }
  }
  t.equal(await status('/user', 'read_repository', 'write_repository'), 403)
})

t.test('a scope that is not enough is told with those that would be', async (t) => {
  const gitlab = await startGitLab(t)
  const { accessToken } = grantTo(gitlab, 'maria', ['read_user'])
  const { status, json } = await call(`${gitlab.url}/api/v4/projects`, asBearer(accessToken))
  t.equal(status, 403)
  t.strictSame(json, {
    error: 'insufficient_scope',
    error_description: 'The request requires higher privileges than provided by the access token.',
    scope: 'api read_api',
  })
})

t.test('an OAuth token expires by the clock, and is taken only as Bearer', async (t) => {
  const gitlab = await startGitLab(t)
  const { accessToken } = grantTo(gitlab)
  const url = `${gitlab.url}/api/v4/user`
  t.match(await call(url, asPrivateToken(accessToken)), {
    status: 401,
    json: { message: '401 Unauthorized' },
  })
  gitlab.clock.advance(7199)
  t.equal((await call(url, asBearer(accessToken))).status, 200)
  gitlab.clock.advance(1)
  const { status, json, headers } = await call(url, asBearer(accessToken))
  t.equal(status, 401)
  t.strictSame(json, EXPIRED)
  t.match(headers.get('www-authenticate'), 'error="invalid_token"')
})

t.test('a blocked user gets 403 until unblocked', async (t) => {
  const gitlab = await startGitLab(t)
  const { accessToken } = grantTo(gitlab)
  gitlab.world.blockUser('maria')
  t.match(await call(`${gitlab.url}/api/v4/user`, asBearer(accessToken)), {
    status: 403,
    json: { message: '403 Forbidden - Your account has been blocked.' },
  })
  gitlab.world.unblockUser('maria')
  t.equal((await call(`${gitlab.url}/api/v4/user`, asBearer(accessToken))).status, 200)
})

t.test('who calls without a token is refused, on metadata and version too', async (t) => {
  const gitlab = await startGitLab(t)
  for (const path of ['/user', '/projects', '/metadata', '/version']) {
    t.match(
      await call(`${gitlab.url}/api/v4${path}`),
      { status: 401, json: { message: '401 Unauthorized' } },
      path,
    )
  }
  const { json } = await call(`${gitlab.url}/api/v4/metadata`, asBearer(grantTo(gitlab).accessToken))
  t.match(json, { version: /^\d+\.\d+/, revision: String, enterprise: true })
})

t.test('groups and projects are found by id and by encoded path, by members only', async (t) => {
  const gitlab = await startGitLab(t)
  const get = async (username: string, path: string) =>
    call(`${gitlab.url}/api/v4${path}`, asBearer(grantTo(gitlab, username).accessToken))
  t.match((await get('maria', '/groups/acme%2Fplatform')).json, {
    id: 2,
    full_path: 'acme/platform',
    parent_id: 1,
  })
  t.match((await get('maria', '/groups/2')).json, { full_path: 'acme/platform' })
  t.match((await get('maria', '/projects/acme%2Fplatform%2Fapi')).json, {
    path_with_namespace: 'acme/platform/api',
    http_url_to_repo: `${gitlab.url}/acme/platform/api.git`,
    permissions: { project_access: null, group_access: { access_level: 30 } },
  })
  t.match(await get('maria', '/projects/globex%2Fsite'), {
    status: 404,
    json: { message: '404 Project Not Found' },
  })
  t.match(await get('maria', '/groups/nowhere'), { status: 404, json: { message: '404 Group Not Found' } })
  t.equal((await get('tom', '/projects/globex%2Fsite')).status, 200)
  t.equal((await get('maria', '/projects/globex%2Fpublic-docs')).status, 200, 'public')
  t.match(await get('maria', '/nothing'), { status: 404, json: { error: '404 Not Found' } })
})

t.test('a long encoded path still names a project', async (t) => {
  const gitlab = await startGitLab(t)
  const fullPath = `acme/${Array.from({ length: 15 }, (_, index) => `a-long-subgroup-name-${index}`).join('/')}/end`
  gitlab.world.addProject({ fullPath })
  const url = `${gitlab.url}/api/v4/projects/${encodeURIComponent(fullPath)}`
  t.equal((await call(url, asBearer(grantTo(gitlab).accessToken))).status, 200)
})

t.test('lists are narrowed by membership, level, top level and group', async (t) => {
  const gitlab = await startGitLab(t)
  gitlab.world.addGroup({ fullPath: 'secret', members: ['tom'] })
  const { accessToken } = grantTo(gitlab, 'maria')
  const list = async (path: string) => {
    const { json } = await call(`${gitlab.url}/api/v4${path}`, asBearer(accessToken))
    return (json as unknown as Place[]).map((place) => place.full_path ?? place.path_with_namespace)
  }
  t.strictSame(await list('/groups'), ['acme', 'globex', 'acme/platform'])
  t.strictSame(await list('/groups?min_access_level=20'), ['acme', 'acme/platform'])
  t.strictSame(await list('/groups?min_access_level=20&top_level_only=true'), ['acme'])
  t.strictSame(await list('/projects?membership=true'), ['acme/platform/api', 'acme/web-shop'])
  t.strictSame(await list('/projects'), ['globex/public-docs', 'acme/platform/api', 'acme/web-shop'])
  t.strictSame(await list('/groups/acme/projects'), ['acme/web-shop'])
  t.strictSame(await list('/groups/acme/projects?include_subgroups=true'), [
    'acme/platform/api',
    'acme/web-shop',
  ])
})

t.test('pages by offset carry their headers and lead through all projects', async (t) => {
  const gitlab = await startGitLab(t)
  for (let index = 0; index < 43; index += 1) gitlab.world.addProject({ fullPath: `acme/many-${index}` })
  const { accessToken } = grantTo(gitlab)
  const get = (url: string) => call(url, asBearer(accessToken))
  const first = await get(`${gitlab.url}/api/v4/projects?membership=true`)
  t.equal((first.json as unknown as Place[]).length, 20)
  const headers = Object.fromEntries([...first.headers].filter(([name]) => name.startsWith('x-')))
  t.match(headers, {
    'x-next-page': '2',
    'x-page': '1',
    'x-per-page': '20',
    'x-prev-page': '',
    'x-total': '45',
    'x-total-pages': '3',
  })
  t.match(first.headers.get('link'), /page=2.*rel="next".*rel="first".*page=3.*rel="last"/)
  const last = await get(`${gitlab.url}/api/v4/projects?membership=true&page=3`)
  t.equal((last.json as unknown as Place[]).length, 5)
  t.equal(last.headers.get('x-next-page'), '')
  const capped = await get(`${gitlab.url}/api/v4/projects?membership=true&per_page=500`)
  t.equal(capped.headers.get('x-per-page'), '100')
})

t.test('pages by keyset are followed by Link to the end, under a relative root too', async (t) => {
  const gitlab = await startGitLab(t, { path: '/gitlab' })
  for (let index = 0; index < 23; index += 1) gitlab.world.addProject({ fullPath: `acme/many-${index}` })
  const { accessToken } = grantTo(gitlab)
  const seen: number[] = []
  let url: string | undefined =
    `${gitlab.url}/api/v4/projects?membership=true&pagination=keyset&order_by=id&sort=asc&per_page=10`
  for (let pages = 0; url !== undefined; pages += 1) {
    t.ok(url.startsWith(`${gitlab.url}/`))
    t.ok(pages < 4, 'the last page is empty')
    const { json, headers } = await call(url, asBearer(accessToken))
    seen.push(...(json as unknown as Place[]).map(({ id }) => id))
    url = /<([^>]+)>; rel="next"/.exec(headers.get('link') ?? '')?.[1]
  }
  t.equal(new Set(seen).size, 25)
  t.strictSame(
    seen,
    [...seen].sort((left, right) => left - right),
  )
})
