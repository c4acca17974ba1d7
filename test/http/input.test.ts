import t from 'tap'
import { parse } from 'yaml'
import { ADMIN_KEY, setStage } from '../support/broker.ts'

const ID = '019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c'
const KEY = { name: 'a key', role: 'scanner', organizations: ['acme'] }
const APP = { slug: 'an-app', instance_id: ID, client_id: 'FAKE', client_secret: 'FAKE' }
const TOKEN = 'glpat-FAKE-0123456789'

/** method, path, body -> the fields that are named as wrong */
const INPUTS: [method: string, path: string, body: unknown, fields: string[]][] = [
  ['POST', '/v1/access-keys', {}, ['name', 'role', 'organizations']],
  ['POST', '/v1/access-keys', { ...KEY, role: 'owner' }, ['role']],
  ['POST', '/v1/access-keys', { ...KEY, role: 7 }, ['role']],
  ['POST', '/v1/access-keys', { ...KEY, name: '' }, ['name', 'name']],
  ['POST', '/v1/access-keys', { ...KEY, name: '   ' }, ['name']],
  ['POST', '/v1/access-keys', { ...KEY, name: 'x'.repeat(201) }, ['name']],
  ['POST', '/v1/access-keys', { ...KEY, name: 5 }, ['name']],
  ['POST', '/v1/access-keys', { ...KEY, organizations: 'acme' }, ['organizations']],
  ['POST', '/v1/access-keys', { ...KEY, organizations: [] }, ['organizations']],
  ['POST', '/v1/access-keys', { ...KEY, organizations: ['acme', 'acme'] }, ['organizations']],
  ['POST', '/v1/access-keys', { ...KEY, organizations: ['Acme!'] }, ['organizations.0', 'organizations.0']],
  ['POST', '/v1/access-keys', { ...KEY, expires_at: 'tomorrow' }, ['expires_at']],
  ['POST', '/v1/access-keys', { ...KEY, expires_at: '2020-01-01T00:00:00Z' }, ['expires_at']],
  ['POST', '/v1/access-keys', { ...KEY, expires: '2027-01-01T00:00:00Z' }, ['body']],
  ['POST', '/v1/access-keys', [KEY], ['body']],
  ['POST', '/v1/access-keys', null, ['body']],
  ['POST', '/v1/access-keys', 'text', ['body']],
  ['GET', '/v1/access-keys?limit=0', undefined, ['limit']],
  ['GET', '/v1/access-keys?limit=101', undefined, ['limit']],
  ['GET', '/v1/access-keys?limit=ten', undefined, ['limit']],
  ['GET', '/v1/access-keys?cursor=nonsense', undefined, ['cursor']],
  ['GET', '/v1/access-keys?page=2', undefined, ['query']],
  ['DELETE', '/v1/access-keys/7', undefined, ['id']],
  ['POST', '/v1/instances', {}, ['base_url']],
  ['POST', '/v1/instances', { base_url: 'ftp://gitlab.example.com' }, ['base_url']],
  ['POST', '/v1/instances', { base_url: 'http://gitlab.example.com' }, ['base_url']],
  ['POST', '/v1/instances', { base_url: 'https://FAKE:FAKE@gitlab.example.com' }, ['base_url']],
  ['POST', '/v1/instances', { base_url: `https://${'a'.repeat(500)}` }, ['base_url']],
  [
    'POST',
    '/v1/instances',
    { base_url: 'https://a.example', allow_private_network: 'yes' },
    ['allow_private_network'],
  ],
  ['POST', '/v1/instances', { base_url: 'https://a.example', ca_certificate: 'no PEM' }, ['ca_certificate']],
  ['POST', '/v1/instances', { base_url: 'https://a.example', ca_certificate: '' }, ['ca_certificate']],
  ['PATCH', `/v1/instances/${ID}`, {}, ['body']],
  ['PATCH', `/v1/instances/${ID}`, { base_url: 'https://b.example' }, ['body']],
  ['GET', '/v1/instances/not-an-id', undefined, ['id']],
  ['GET', `/v1/instances/${'1'.repeat(99)}`, undefined, ['id']],
  ['POST', '/v1/oauth-apps', {}, ['slug', 'instance_id', 'client_id', 'client_secret']],
  ['POST', '/v1/oauth-apps', { ...APP, slug: 'An App' }, ['slug']],
  ['POST', '/v1/oauth-apps', { ...APP, slug: '../evil' }, ['slug']],
  ['POST', '/v1/oauth-apps', { ...APP, instance_id: 'gitlab.com' }, ['instance_id']],
  ['POST', '/v1/oauth-apps', { ...APP, client_secret: '' }, ['client_secret']],
  ['POST', '/v1/oauth-apps', { ...APP, client_secret: 'x'.repeat(501) }, ['client_secret']],
  ['POST', '/v1/oauth-apps', { ...APP, scopes: [] }, ['scopes']],
  ['POST', '/v1/oauth-apps', { ...APP, scopes: ['read user'] }, ['scopes.0']],
  ['PATCH', `/v1/oauth-apps/${ID}`, { slug: 'other' }, ['body']],
  ['POST', '/v1/tokens/verify', {}, ['token']],
  ['POST', '/v1/tokens/verify', { token: 'short' }, ['token']],
  ['POST', '/v1/tokens/verify', { token: `FAKE ${TOKEN.slice(6)}` }, ['token']],
  ['POST', '/v1/tokens/verify', { token: 'x'.repeat(4097) }, ['token']],
  ['POST', '/v1/tokens/verify', { token: TOKEN, base_url: 'https://' }, ['base_url']],
  ['POST', '/v1/tokens/verify', { token: TOKEN, organization: 'acme' }, ['body']],
  ['POST', '/v1/connections/personal-access-token', {}, ['organization', 'token']],
  ['POST', '/v1/connections/personal-access-token', { organization: 'Acme', token: TOKEN }, ['organization']],
  ['POST', '/v1/connections/personal-access-token', { organization: 'acme', token: 12345678 }, ['token']],
  [
    'POST',
    '/v1/connections/personal-access-token',
    { organization: 'acme', token: TOKEN, group: 'x'.repeat(1001) },
    ['group'],
  ],
  ['POST', '/v1/connections/oauth-token', { organization: 'acme' }, ['access_token']],
  [
    'POST',
    '/v1/connections/oauth-token',
    { organization: 'acme', access_token: TOKEN, refresh_token: TOKEN },
    ['oauth_app'],
  ],
  [
    'POST',
    '/v1/connections/oauth-token',
    { organization: 'acme', access_token: TOKEN, oauth_app: 'simulator' },
    ['refresh_token'],
  ],
  ['GET', '/v1/connections?status=dead', undefined, ['status']],
  ['GET', '/v1/connections?organization=Not%20a%20slug', undefined, ['organization']],
  ['GET', '/v1/connections/1', undefined, ['id']],
  ['GET', '/v1/connections/1/credential', undefined, ['id']],
  ['DELETE', '/v1/leases/1', undefined, ['id']],
  ['POST', '/v1/connect-sessions', { organization: 'acme', methods: ['carrier pigeon'] }, ['methods.0']],
  ['POST', '/v1/connect-sessions', { organization: 'acme', methods: [] }, ['methods']],
  ['POST', '/v1/connect-sessions', { organization: 'acme', expires_in: 59 }, ['expires_in']],
  ['POST', '/v1/connect-sessions', { organization: 'acme', expires_in: '600' }, ['expires_in']],
  ['GET', '/v1/credentials', undefined, ['url']],
  ['GET', '/v1/credentials?url=', undefined, ['url']],
  ['GET', '/oauth/simulator/start', undefined, ['session']],
]

t.test('input that is wrong', async (t) => {
  const { broker } = await setStage(t)
  const { request } = broker

  t.test('is answered with a problem that names each field, and never its value', async (t) => {
    for (const [method, path, body, fields] of INPUTS) {
      const headers = { 'content-type': 'application/json' }
      const answer = await request(
        method,
        path,
        body === undefined ? {} : { rawBody: JSON.stringify(body), headers },
      )
      const what = `${method} ${path} ${JSON.stringify(body)?.slice(0, 80)}`
      t.equal(answer.status, 400, what)
      t.equal(answer.headers.get('content-type'), 'application/problem+json', what)
      t.equal(answer.headers.get('cache-control'), 'no-store', what)
      t.match(answer.body, { type: 'about:blank', title: String, status: 400, code: 'invalid_request' }, what)
      t.equal(answer.body.request_id, answer.headers.get('x-request-id'), what)
      t.same(answer.body.errors.map(({ field }: { field: string }) => field).sort(), [...fields].sort(), what)
      t.notMatch(answer.text, TOKEN, what)
      t.notMatch(answer.text, 'xxxxxxxx', what)
    }
  })

  t.test('as a choice that does not exist is told the choices, once', async (t) => {
    const { body } = await broker.post('/v1/access-keys', { ...KEY, role: 'owner' })
    t.same(body.errors, [{ field: 'role', message: 'must be one of admin, manager, scanner' }])
  })

  t.test('says in words what a text has to look like', async (t) => {
    for (const [path, body, message] of [
      [
        '/v1/connect-sessions',
        { organization: 'Acme Inc' },
        /^organization must be lower-case letters.*acme-inc/,
      ],
      [
        '/v1/access-keys',
        { ...KEY, organizations: ['Acme'] },
        /^organizations\.0 must be lower-case letters/,
      ],
      ['/v1/access-keys', { ...KEY, name: ' ' }, /^name must be more than blanks/],
      ['/v1/access-keys', { ...KEY, expires_at: 'tomorrow' }, /^expires_at must be a time such as 2026/],
      ['/v1/oauth-apps', { ...APP, slug: 'Git Lab' }, /^slug must be lower-case letters.*gitlab-com/],
      ['/v1/oauth-apps', { ...APP, instance_id: 'x' }, /^instance_id must be a UUID/],
    ] as const) {
      const { detail } = (await broker.post(path, body)).body
      t.match(detail, message)
      t.notMatch(detail, /\^|pattern/)
    }
  })

  t.test('as a body that is no JSON, too large, or of another kind has a code of its own', async (t) => {
    const send = (rawBody: string, type = 'application/json') =>
      request('POST', '/v1/access-keys', { rawBody, headers: { 'content-type': type } })
    t.match(await send('{"name":'), { status: 400, body: { code: 'invalid_request' } })
    t.match(await send(''), { status: 400, body: { code: 'invalid_request' } })
    t.match(await send('{"__proto__":{"role":"admin"}}'), { status: 400, body: { code: 'invalid_request' } })
    t.match(await send(JSON.stringify({ name: 'x'.repeat(70_000) })), {
      status: 413,
      body: { code: 'payload_too_large', request_id: String },
    })
    t.match(await send('<key/>', 'application/xml'), {
      status: 415,
      body: { code: 'unsupported_media_type', request_id: String },
    })
  })

  t.test('as a path or method that does not exist is 404', async (t) => {
    for (const [method, path] of [
      ['GET', '/v1/nothing'],
      ['PUT', '/v1/access-keys'],
    ] as const) {
      t.match(await request(method, path), { status: 404, body: { code: 'not_found', request_id: String } })
    }
  })

  t.test('as a URL that cannot be decoded is a problem too', async (t) => {
    const answer = await broker.get('/v1/connections/%zz')
    t.match(answer, { status: 400, body: { code: 'invalid_request', request_id: String } })
    const long = await broker.get(`/v1/connections/${'1'.repeat(200)}`)
    t.match(long.body, { type: 'about:blank', request_id: String })
    t.ok(long.status >= 400 && long.status < 500)
  })
})

t.test('faults that were found', async (t) => {
  const { broker } = await setStage(t)

  t.test('an unknown field is refused also in a plugin that adds a schema of its own', async (t) => {
    const answer = await broker.post('/v1/connect-sessions', {
      organization: 'acme',
      retrun_url: 'https://x.example',
    })
    t.match(answer.body, {
      code: 'invalid_request',
      errors: [
        {
          field: 'body',
          message:
            'has an unknown field; known are organization, return_url, connection_id, base_url, group, labels, methods, expires_in',
        },
      ],
    })
    const query = await broker.get(`/v1/connections/${ID}/credential?minttl=600`)
    t.match(query.body, {
      code: 'invalid_request',
      errors: [{ field: 'query', message: /min_ttl, on_conflict, purpose, wrap$/ }],
    })
  })

  t.test('a number in a body is not taken for a text', async (t) => {
    t.equal((await broker.post('/v1/access-keys', { ...KEY, name: 7 })).status, 400)
  })

  t.test(
    'the character U+0000, which PostgreSQL cannot store, is bad input and no internal error',
    async (t) => {
      for (const answer of [
        await broker.post('/v1/access-keys', { ...KEY, name: 'a\0b' }),
        await broker.post('/v1/oauth-apps', { ...APP, client_id: 'a\0b' }),
        await broker.get(`/v1/connections/${ID}/credential?purpose=a%00b`),
        await broker.get('/v1/credentials?url=https%3A%2F%2Fgitlab.com%2Fa%2500b'),
        await broker.get('/oauth/a%00b/start?session=x', { key: null }),
      ]) {
        t.match(answer, { status: 400, body: { code: 'invalid_request' } })
      }
    },
  )

  t.test('a bad lookup does not spoil those that share its statement', async (t) => {
    const paths = ['a%00b', 'fine', 'fine', 'a%00b'].map(
      (purpose) => `/v1/connections/${ID}/credential?purpose=${purpose}`,
    )
    const answers = await Promise.all(paths.map((path) => broker.get(path)))
    t.same(
      answers.map(({ body }) => body.code),
      ['invalid_request', 'not_found', 'not_found', 'invalid_request'],
    )
  })

  t.test('an id with urn:uuid: before it is bad input and no internal error', async (t) => {
    for (const path of [`/v1/connections/urn:uuid:${ID}`, `/v1/connections/urn:uuid:${ID}/credential`]) {
      t.match(await broker.get(path), { status: 400, body: { errors: [{ field: 'id' }] } })
    }
  })

  t.test('a leap second, which JavaScript does not know, is bad input and no internal error', async (t) => {
    const answer = await broker.post('/v1/access-keys', { ...KEY, expires_at: '2027-01-01T23:59:60Z' })
    t.match(answer, { status: 400, body: { errors: [{ field: 'expires_at' }] } })
  })
})

t.test('every call of /v1 takes an access key', async (t) => {
  const { broker } = await setStage(t)
  const description = await broker.get('/openapi.yaml', { key: null })
  const { paths } = parse(description.text) as { paths: Record<string, Record<string, unknown>> }
  const operations = Object.entries(paths)
    .filter(([path]) => path.startsWith('/v1/'))
    .flatMap(([path, methods]) => Object.keys(methods).map((method) => [method.toUpperCase(), path] as const))
  t.ok(operations.length >= 20, `${operations.length} operations`)
  for (const [method, template] of operations) {
    const path = template.replace(/\{\w+\}/g, ID)
    for (const headers of [
      {},
      { authorization: 'Basic RkFLRTpGQUtF' },
      { authorization: 'Bearer' },
      { authorization: 'Bearer gtb_scn_FAKE' },
      { authorization: `Bearer ${ADMIN_KEY}x` },
      { authorization: `Bearer ${'x'.repeat(600)}` },
    ]) {
      const answer = await broker.request(method, path, { key: null, headers })
      t.equal(answer.status, 401, `${method} ${path}`)
      // Git's helper prints lines.
      if (path.startsWith('/v1/git-credential/')) t.match(answer.text, /\(unauthorized\)/)
      else t.match(answer.body, { code: 'unauthorized' }, `${method} ${path}`)
      t.match(answer.headers.get('www-authenticate'), /^Bearer/)
    }
  }
})
