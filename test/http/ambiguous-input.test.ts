import { request as httpRequest } from 'node:http'
import t from 'tap'
import { type Answer, startTestBroker } from '../support/broker.ts'

const ID = '019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c'
const KEY = '{"name":"a key","role":"scanner","organizations":["acme"]}'
const SECRET = 'glpat-FAKE-not-to-be-repeated'
const JSON_TYPE = { 'content-type': 'application/json' }

const nested = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`
const nestedLists = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels)

/** Bodies that JSON.parse accepts, or that look like JSON, and that no operation may take. */
const BODIES: Record<string, string> = {
  '33 levels': nested(33),
  '20,000 levels': nested(10_000),
  '30,000 lists': nestedLists(30_000),
  'levels in a known field': `{"name":${nestedLists(40)},"role":"scanner","organizations":["acme"]}`,
  'levels that never end': '['.repeat(60_000),
  'a member twice': KEY.replace('{', '{"role":"admin",'),
  'a member twice, once in escapes': KEY.replace('{', '{"\\u0072ole":"admin",'),
  'a member twice, deep inside': `{"name":"x","role":"scanner","organizations":[{"${SECRET}":1,"${SECRET}":2}]}`,
  'a member of the prototype': KEY.replace('{', '{"__proto__":{"role":"admin"},'),
  'a member of the prototype, in escapes': KEY.replace('{', '{"__pro\\u0074o__":{"role":"admin"},'),
  'the prototype of the constructor': KEY.replace('{', '{"constructor":{"prototype":{"role":"admin"}},'),
  'half a pair in a value': KEY.replace('a key', 'a \\ud83d key'),
  'the other half of a pair in a value': KEY.replace('a key', 'a \\udc4d key'),
  'half a pair in a name': KEY.replace('{', `{"${SECRET}\\ud83d":1,`),
  'U+0000 in a value': KEY.replace('a key', 'a\\u0000key'),
  'U+0000 in a name': KEY.replace('{', `{"${SECRET}\\u0000":1,`),
  'U+0000 in a list': KEY.replace('"acme"', '"acme","\\u0000"'),
  'an unknown member': KEY.replace('{', `{"${SECRET}":"${SECRET}",`),
  'an unknown member with slashes': KEY.replace('{', `{"a/${SECRET}~1":{"${SECRET}":1},`),
  'a year of five digits': KEY.replace('}', ',"expires_at":"10000-01-01T00:00:00Z"}'),
  'a year of six digits': KEY.replace('}', ',"expires_at":"+010000-01-01T00:00:00Z"}'),
  'a year that ends in the next in UTC': KEY.replace('}', ',"expires_at":"9999-12-31T23:59:59-01:00"}'),
  'a negative year': KEY.replace('}', ',"expires_at":"-000001-01-01T00:00:00Z"}'),
  'the year 0': KEY.replace('}', ',"expires_at":"0000-12-31T23:59:59Z"}'),
  'the year 0 in UTC': KEY.replace('}', ',"expires_at":"0001-01-01T00:00:00+01:00"}'),
  'a number that is none': KEY.replace('"a key"', '1e999'),
  'a comment': KEY.replace('{', `{/* ${SECRET} */`),
  'no JSON': SECRET,
  'half of JSON': `{"name":"${SECRET}`,
}

t.test(
  'bodies of more than one meaning, or that cannot be stored, are refused and not repeated',
  async (t) => {
    const broker = await startTestBroker(t)
    for (const [what, rawBody] of Object.entries(BODIES)) {
      for (const path of ['/v1/access-keys', '/v1/instances', '/v1/oauth-apps', '/v1/connect-sessions']) {
        const answer = await broker.request('POST', path, { rawBody, headers: JSON_TYPE })
        t.match(answer, { status: 400, body: { code: 'invalid_request' } }, `${path}: ${what}`)
        t.equal(answer.headers.get('cache-control'), 'no-store')
        t.notMatch(answer.text, SECRET, what)
      }
    }
    const deepest = await broker.request('POST', '/v1/access-keys', {
      rawBody: nested(32),
      headers: JSON_TYPE,
    })
    t.match(deepest, { status: 400, text: /has an unknown field/ }, '32 levels are read')
    t.equal(
      (await broker.request('POST', '/v1/access-keys', { rawBody: KEY, headers: JSON_TYPE })).status,
      201,
    )
    t.notOk(broker.logLines.some((line) => line.includes(SECRET) || line.includes('"level":"error"')))
  },
)

t.test('a body that is not UTF-8 is refused', async (t) => {
  const broker = await startTestBroker(t)
  const send = (bytes: Buffer) =>
    fetch(`${broker.url}/v1/access-keys`, {
      method: 'POST',
      headers: { authorization: 'Bearer FAKE-admin-key-0123456789-0123456789', ...JSON_TYPE },
      body: new Uint8Array(bytes),
    })
  for (const name of [Buffer.from([0xed, 0xa0, 0xbd]), Buffer.from([0xff]), Buffer.from([0xc0, 0x80])]) {
    const [before = '', after = ''] = KEY.split('a key')
    t.equal((await send(Buffer.concat([Buffer.from(before), name, Buffer.from(after)]))).status, 400)
  }
})

t.test('without an access key nothing of a body is read', async (t) => {
  const broker = await startTestBroker(t)
  for (const rawBody of [nested(10_000), KEY]) {
    const options = { key: null, rawBody, headers: JSON_TYPE }
    t.equal((await broker.request('POST', '/v1/access-keys', options)).status, 401)
    t.ok((await broker.request('POST', '/connect/sign-in', options)).status < 500)
    t.ok((await broker.request('POST', '/healthz', options)).status < 500)
  }
})

t.test('a body is JSON that says so: whatever else is sent is not read', async (t) => {
  const broker = await startTestBroker(t)
  const body = KEY.replace('a key', SECRET)
  const types = [
    undefined,
    '',
    'text/plain',
    'text/json',
    'application/x-www-form-urlencoded',
    'application/x-www-form-urlencoded; charset=utf-8',
    'multipart/form-data; boundary=x',
    'application/octet-stream',
    'application/xml',
    'application/jsonp',
    'application/json-seq',
    'application/ld+json',
    'json',
    `application/${SECRET}`,
    '*/*',
  ]
  const operations = [
    ['POST', '/v1/access-keys'],
    ['POST', '/v1/tokens/verify'],
    ['PATCH', `/v1/instances/${ID}`],
    ['PUT', `/v1/connections/${ID}/token`],
    ['DELETE', `/v1/instances/${ID}`],
    ['POST', `/v1/leases/${ID}/rejection`],
  ] as const
  for (const type of types) {
    for (const [method, path] of operations) {
      // Not by fetch, which adds a type where none is given.
      const answer = await send(broker.url + path, method, type, body)
      t.match(answer, { status: 415, body: { code: 'unsupported_media_type' } }, `${method} ${path} ${type}`)
      t.notMatch(answer.text, SECRET)
    }
  }
  for (const type of ['application/json', 'Application/JSON; charset=utf-8'])
    t.equal((await send(`${broker.url}/v1/access-keys`, 'POST', type, KEY)).status, 201, type)
  t.notOk(broker.logLines.some((line) => line.includes(SECRET)))
})

const send = (url: string, method: string, type: string | undefined, body: string) =>
  new Promise<Pick<Answer, 'status' | 'text' | 'body'>>((resolve, reject) => {
    const headers = {
      authorization: 'Bearer FAKE-admin-key-0123456789-0123456789',
      'content-length': Buffer.byteLength(body),
      ...(type === undefined ? {} : { 'content-type': type }),
    }
    const request = httpRequest(url, { method, headers }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve({ status: response.statusCode ?? 0, text, body: JSON.parse(text) })
    })
    request.once('error', reject).end(body)
  })

t.test('what is wrong in a URL is refused and not repeated', async (t) => {
  const broker = await startTestBroker(t)
  const unstorable = encodeURIComponent('\0')
  for (const target of [
    `/v1/instances?${SECRET}=1`,
    `/v1/instances?limit=${SECRET}`,
    `/v1/instances?limit=1&limit=${SECRET}`,
    `/v1/instances?cursor=${SECRET}`,
    `/v1/instances?limit[${SECRET}]=1`,
    `/v1/instances?__proto__[${SECRET}]=1`,
    `/v1/instances?${SECRET}${unstorable}=1`,
    `/v1/instances/${SECRET}`,
    `/v1/instances/${SECRET}${unstorable}`,
    `/v1/instances/%zz${SECRET}`,
    `/v1/instances/%ed%a0%bd${SECRET}`,
    `/v1/credentials?url=https%3A%2F%2Fgitlab.com%2Fa&purpose=${SECRET}${unstorable}`,
    `/v1/connections?status=${SECRET}`,
    `/v1/connections?organization=${SECRET}!`,
    `/v1/connections?expires_before=10000-01-01T00:00:00Z&${SECRET}`,
  ]) {
    const answer = await broker.get(target)
    t.match(answer, { status: 400, body: { code: 'invalid_request' } }, target)
    t.notMatch(answer.text, SECRET, target)
    t.equal(answer.headers.get('cache-control'), 'no-store')
  }
  for (const target of [
    `/${SECRET}`,
    `/v1/${SECRET}`,
    `/v1/instances/${ID}/${SECRET}?${SECRET}`,
    `//${SECRET}`,
  ]) {
    const answer = await broker.get(target, { headers: { [SECRET]: SECRET } })
    t.equal(answer.status, 404)
    t.notMatch(answer.text, SECRET, target)
    t.equal(answer.headers.get('cache-control'), 'no-store')
  }
  t.notOk(broker.logLines.some((line) => line.includes(SECRET)))
})

t.test('nothing of /v1 may be kept by a cache', async (t) => {
  const broker = await startTestBroker(t)
  for (const target of [
    '/v1/instances',
    '/v1/oauth-apps',
    `/v1/instances/${ID}`,
    '/v1',
    '/v1/',
    '/v1/nothing',
  ])
    for (const key of [undefined, null])
      t.equal(
        (await broker.get(target, key === null ? { key } : {})).headers.get('cache-control'),
        'no-store',
        target,
      )
})
