import { request as httpRequest } from 'node:http'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import t from 'tap'
import { ADMIN_KEY, type BrokerOptions, startTestBroker } from '../support/broker.ts'

type Reply = { status: number; headers: Record<string, unknown>; text: string }

/** fetch sets the Host header itself. */
const ask = (url: string, headers: Record<string, string>): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const request = httpRequest(url, { headers }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text })
    })
    request.once('error', reject).end()
  })

const authorization = `Bearer ${ADMIN_KEY}`
const FOREIGN = [
  'evil.example',
  'evil.example:8080',
  'broker.example.com.evil.example',
  'evil-broker.example.com',
  '10.0.0.7',
  '127.0.0.1.evil.example',
  'localhost.evil.example',
  '[fd00::1]:8080',
  '169.254.169.254',
  ' ',
]
const PATHS = [
  '/v1/instances',
  '/connect',
  '/docs',
  '/openapi.yaml',
  '/nothing',
  '/oauth/simulator/start?session=x',
]

const start = (config: NonNullable<BrokerOptions['config']>) => startTestBroker(t, { config })

t.test('under the name of another host nothing is answered but health', async (t) => {
  const broker = await start({
    publicUrl: 'https://broker.example.com',
    allowedHosts: ['broker', '[fd00::7]'],
  })
  for (const host of FOREIGN) {
    for (const path of PATHS) {
      const answer = await ask(broker.url + path, { host, authorization })
      t.match(answer, { status: 421, headers: { 'cache-control': 'no-store' } }, `${host} ${path}`)
      t.match(JSON.parse(answer.text), { code: 'unknown_host' })
      if (host.trim()) t.notOk(answer.text.includes(host), 'it is not repeated')
    }
    for (const path of ['/healthz', '/readyz'])
      t.equal((await ask(broker.url + path, { host })).status, 200, `${host} ${path}`)
  }
  for (const host of [
    'broker.example.com',
    'BROKER.example.com:443',
    'broker.example.com.',
    'broker:8080',
    '[fd00::7]:8080',
    'localhost',
    'app.localhost:8080',
    '127.0.0.1:8080',
    '127.8.8.8',
    '[::1]:8080',
  ])
    t.equal((await ask(`${broker.url}/v1/instances`, { host, authorization })).status, 200, host)
})

t.test('a proxy that is trusted says which host was asked for; one that is not says nothing', async (t) => {
  const publicUrl = 'https://broker.example.com'
  const trusting = await start({ publicUrl, allowedHosts: [], trustProxy: true })
  const forwarded = { 'x-forwarded-host': 'evil.example', host: 'broker.example.com', authorization }
  t.equal((await ask(`${trusting.url}/v1/instances`, forwarded)).status, 421)
  const other = await start({ publicUrl, allowedHosts: [] })
  t.equal((await ask(`${other.url}/v1/instances`, forwarded)).status, 200)
  const hidden = { 'x-forwarded-host': 'broker.example.com', host: 'evil.example', authorization }
  t.equal((await ask(`${other.url}/v1/instances`, hidden)).status, 421)
})

t.test('while its name is not known it answers under any', async (t) => {
  const broker = await start({ allowedHosts: undefined })
  t.equal((await ask(`${broker.url}/v1/instances`, { host: 'evil.example', authorization })).status, 200)
})

t.test('browsers are told to stay with https where the service is reached by https', async (t) => {
  const broker = await start({ publicUrl: 'https://broker.example.com', allowedHosts: [] })
  for (const path of [...PATHS, '/healthz', '/docs/static/swagger-ui.css', '/v1/instances/%zz']) {
    const { headers } = await ask(broker.url + path, { host: 'broker.example.com' })
    if (path !== '/v1/instances/%zz') t.equal(headers['strict-transport-security'], 'max-age=31536000', path)
    t.notMatch(headers['content-security-policy'] ?? '', /unsafe/, path)
  }
  const plain = await start({})
  t.equal((await plain.get('/connect')).headers.get('strict-transport-security'), null)
})

t.test('the description is sent once to whoever keeps it', async (t) => {
  const broker = await start({})
  for (const path of ['/openapi.yaml', '/docs/json']) {
    const first = await broker.get(path, { key: null })
    const etag = first.headers.get('etag') ?? ''
    t.match(etag, /^"[\w-]+"$/)
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const again = await broker.get(path, { key: null, headers: { 'if-none-match': known } })
      t.match(again, { status: 304, text: '' }, known)
    }
    const other = await broker.get(path, { key: null, headers: { 'if-none-match': '"other"' } })
    t.match(other, { status: 200, text: first.text })
  }
  t.equal((await broker.get('/docs/yaml', { key: null })).headers.get('location'), '../openapi.yaml')
})

/** As the bytes come, with nothing unpacked. */
const askRaw = (
  url: string,
  headers: Record<string, string>,
): Promise<{ headers: Record<string, string | string[] | undefined>; body: Buffer }> =>
  new Promise((resolve, reject) => {
    httpRequest(url, { headers }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => resolve({ headers: answer.headers, body: Buffer.concat(chunks) }))
    })
      .once('error', reject)
      .end()
  })

t.test('what never changes is sent compressed to whoever takes that', async (t) => {
  const broker = await start({})
  const { text } = await broker.get('/connect', { key: null })
  const [, style] = /href="(\/assets\/[^"]+page\.css)"/.exec(text) ?? []
  const unpack: Record<string, (body: Buffer) => Buffer> = { br: brotliDecompressSync, gzip: gunzipSync }
  for (const path of ['/openapi.yaml', '/docs/json', style as string]) {
    const plain = await askRaw(broker.url + path, {})
    t.equal(plain.headers['content-encoding'], undefined, path)
    const tags = new Set([plain.headers.etag])
    for (const [accepted, encoding] of [
      ['gzip, deflate, br, zstd', 'br'],
      ['br;q=0, GZIP;q=0.5', 'gzip'],
      ['gzip', 'gzip'],
    ] as const) {
      const { headers, body } = await askRaw(broker.url + path, { 'accept-encoding': accepted })
      t.match(headers, { 'content-encoding': encoding, vary: 'accept-encoding' }, `${path} ${accepted}`)
      t.ok(unpack[encoding]?.(body).equals(plain.body), `${path} ${accepted}`)
      t.ok(body.length < plain.body.length / 2, `${path} ${accepted}`)
      tags.add(headers.etag)
    }
    t.equal(tags.size, 3, 'other bytes have another tag')
    for (const accepted of ['identity', 'gzip;q=0, br;q=0', 'brotli', 'x-gzip-not'])
      t.equal(
        (await askRaw(broker.url + path, { 'accept-encoding': accepted })).headers['content-encoding'],
        undefined,
        accepted,
      )
  }
})
