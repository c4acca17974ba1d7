import t, { type Test } from 'tap'
import { DEFAULT_LIMITS, type LimitSettings } from '../../src/config/limits.ts'
import { deleteOld } from '../../src/limits/delete-old.ts'
import { LIMITED_ROUTES, limitOf } from '../../src/limits/limited-routes.ts'
import { ADMIN_KEY, type BrokerOptions, startTestBroker } from '../support/broker.ts'
import { createFakeClock } from '../support/clock.ts'
import { createTestDatabase } from '../support/database.ts'

const WRONG_KEY = 'FAKE-wrong-key-0123456789-0123456789'

/** Of an issuer that nobody trusts. */
const FORGED = ['{"alg":"RS256","kid":"FAKE"}', '{"iss":"https://ci.example.com"}', 'FAKE']
  .map((part) => Buffer.from(part).toString('base64url'))
  .join('.')

const startLimited = (t: Test, limits: Partial<LimitSettings>, options: BrokerOptions = {}) =>
  startTestBroker(t, {
    ...options,
    config: { ...options.config, limits: { ...DEFAULT_LIMITS, ...limits }, trustProxy: 'loopback' },
  })

const from = (address: string) => ({ headers: { 'x-forwarded-for': address } })

const isLimited = (
  t: Test,
  answer: { status: number; headers: Headers; body: unknown },
  longestSeconds = 60,
): void => {
  t.match(answer, { status: 429, body: { code: 'rate_limited', status: 429 } })
  const wait = Number(answer.headers.get('retry-after'))
  t.ok(wait >= 1 && wait <= longestSeconds, `Retry-After: ${wait}`)
}

t.test('wrong access keys are counted by address, over all replicas', async (t) => {
  const clock = createFakeClock()
  const database = await createTestDatabase(t)
  const one = await startLimited(t, { wrongKeys: 6 }, { clock, database })
  const two = await startLimited(t, { wrongKeys: 6 }, { clock, database })
  const thief = from('203.0.113.7')
  const guess = (broker: typeof one, key: string | null = WRONG_KEY, more = thief) =>
    broker.get('/v1/instances', { key, ...more })

  for (let tries = 0; tries < 10; tries += 1)
    t.equal((await guess(one, null)).status, 401, 'no key at all is no guess')
  t.equal((await guess(one, ADMIN_KEY, from('198.51.100.1'))).status, 200)
  for (let tries = 0; tries < 3; tries += 1) {
    t.match(await guess(one), { status: 401, body: { code: 'unauthorized' } })
    t.equal((await guess(two)).status, 401)
  }
  isLimited(t, await guess(two))
  t.equal((await guess(one)).status, 401, 'this replica counts one more, and knows by it')
  isLimited(t, await guess(one))
  isLimited(t, await guess(two, ADMIN_KEY), 60)
  t.equal((await guess(one, ADMIN_KEY)).status, 200, 'a key that was right before is no guess')
  t.equal((await guess(one, WRONG_KEY, from('203.0.113.8'))).status, 401, 'nor is another address meant')
  for (const path of ['/healthz', '/readyz'])
    t.equal((await one.get(path, { key: WRONG_KEY, ...thief })).status, 200, path)

  clock.advance(61)
  t.equal((await guess(one)).status, 401)
  t.equal((await guess(two, ADMIN_KEY)).status, 200)
  clock.advance(61)
  t.equal(await deleteOld(database.db, new Date(clock())), 2)
})

t.test('a guess in the form of a token exchange counts as one in the header', async (t) => {
  const broker = await startLimited(t, { wrongKeys: 3 })
  const exchange = (subject_token: string | undefined, address: string) => {
    const form = {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      resource: 'https://gitlab.com/a/b',
    }
    const { headers } = from(address)
    return broker.request('POST', '/v1/token', {
      key: null,
      rawBody: new URLSearchParams({ ...form, ...(subject_token && { subject_token }) }).toString(),
      headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' },
    })
  }
  const thief = '203.0.113.7'
  for (let tries = 0; tries < 3; tries += 1) {
    const answer = await exchange(FORGED, thief)
    t.match(answer, { status: 400, body: { code: 'unauthorized' } }, answer.text)
  }
  const limited = await exchange(FORGED, thief)
  t.equal(limited.status, 429, limited.text)
  t.ok(Number(limited.headers.get('retry-after')) >= 1)
  isLimited(t, await broker.get('/v1/instances', { key: WRONG_KEY, ...from(thief) }))
  t.not((await exchange(FORGED, '203.0.113.8')).status, 429)
})

t.test('a whole IPv6 subnet is one address', async (t) => {
  const broker = await startLimited(t, { wrongKeys: 3 })
  const guess = (address: string) => broker.get('/v1/instances', { key: WRONG_KEY, ...from(address) })
  for (const host of ['1', '2', 'ffff:1']) t.equal((await guess(`2a00:1450:1:2::${host}`)).status, 401)
  isLimited(t, await guess('2a00:1450:1:2:3::9'))
  t.equal((await guess('2a00:1450:1:3::1')).status, 401)
})

t.test('failed sign-ins are counted by address, and a right key is not evaluated then', async (t) => {
  const clock = createFakeClock()
  const database = await createTestDatabase(t)
  const brokers = [
    await startLimited(t, { failedSignIns: 4 }, { clock, database }),
    await startLimited(t, { failedSignIns: 4 }, { clock, database }),
  ] as const
  const signIn = async (broker: (typeof brokers)[number], key: string, address = '203.0.113.7') => {
    const answer = await fetch(`${broker.url}/connect/sign-in`, {
      method: 'POST',
      redirect: 'manual',
      headers: { origin: broker.url, 'x-forwarded-for': address },
      body: new URLSearchParams({ access_key: key }),
    })
    return { status: answer.status, headers: answer.headers, text: await answer.text() }
  }
  for (const broker of [...brokers, ...brokers]) t.equal((await signIn(broker, WRONG_KEY)).status, 401)
  for (const broker of brokers) {
    await signIn(broker, WRONG_KEY)
    const refused = await signIn(broker, ADMIN_KEY)
    t.equal(refused.status, 429)
    t.same(refused.headers.getSetCookie(), [])
    t.ok(Number(refused.headers.get('retry-after')) >= 1)
    t.match(refused.headers.get('content-type'), 'text/html')
    t.match(refused.text, 'Too many')
  }
  t.equal((await signIn(brokers[0], ADMIN_KEY, '203.0.113.8')).status, 303)
  clock.advance(61)
  t.equal((await signIn(brokers[1], ADMIN_KEY)).status, 303)

  const many = await Promise.all(
    Array.from({ length: 40 }, () => signIn(brokers[0], WRONG_KEY, '203.0.113.9')),
  )
  t.equal(many.filter(({ status }) => status === 401).length, 4, 'also when all come at once')
  t.equal(many.filter(({ status }) => status === 429).length, 36)
})

t.test('checks of tokens are counted by key and by address, over all replicas', async (t) => {
  const database = await createTestDatabase(t)
  const brokers = [
    await startLimited(t, { tokenChecks: 4 }, { database }),
    await startLimited(t, { tokenChecks: 4 }, { database }),
  ] as const
  const token = 'glpat-FAKE-0123456789'
  // Refused before anything is sent: nothing outside is asked.
  const body = { base_url: 'https://127.0.0.1:9', token }
  const keys = await Promise.all([1, 2, 3].map(() => brokers[0].createKey('manager', ['acme'])))
  const verify = (broker: (typeof brokers)[number], key: string | undefined, address: string) =>
    broker.post('/v1/tokens/verify', body, { key: key!, ...from(address) })

  for (const [index, address] of ['203.0.113.1', '203.0.113.2', '203.0.113.3', '203.0.113.4'].entries())
    t.equal((await verify(brokers[index % 2]!, keys[0], address)).status, 200)
  isLimited(t, await verify(brokers[0], keys[0], '203.0.113.5'))
  isLimited(t, await verify(brokers[1], keys[0], '203.0.113.6'))
  isLimited(
    t,
    await brokers[0].post(
      '/v1/connections/personal-access-token',
      { ...body, organization: 'acme' },
      { key: keys[0]!, ...from('203.0.113.5') },
    ),
  )
  for (let tries = 0; tries < 2; tries += 1)
    for (const broker of brokers) t.equal((await verify(broker, keys[1], '198.51.100.1')).status, 200)
  isLimited(t, await verify(brokers[0], keys[2], '198.51.100.1'))
  const page = (address: string) =>
    fetch(`${brokers[1].url}/connect/verify`, {
      method: 'POST',
      headers: { origin: brokers[1].url, 'x-forwarded-for': address },
      body: new URLSearchParams({ token, base_url: body.base_url }),
    })
  t.equal((await page('198.51.100.1')).status, 429)
  t.equal((await page('198.51.100.2')).status, 200)
})

t.test('connect links are counted by key, and starts of the flow by link', async (t) => {
  const broker = await startLimited(t, { connectSessionsPerKey: 3, flowStartsPerLink: 2 })
  const other = await broker.createKey('manager', ['acme'])
  const create = (key = ADMIN_KEY) => broker.post('/v1/connect-sessions', { organization: 'acme' }, { key })
  const links = [await create(), await create(), await create()].map(({ body }) => new URL(body.url).search)
  isLimited(t, await create())
  t.equal((await create(other)).status, 201)
  const start = (link: string) => broker.get(`/oauth/none/start${link}`, { key: null })
  for (const link of links.slice(0, 2))
    for (let tries = 0; tries < 2; tries += 1) t.not((await start(link)).status, 429)
  isLimited(t, await start(links[0]!))
  isLimited(t, await start(links[1]!))
  t.not((await start(links[2]!)).status, 429)
})

t.test('requests are counted by key, lookups among them', async (t) => {
  const broker = await startLimited(t, { requestsPerKey: 5 })
  const [busy, calm] = [
    await broker.createKey('scanner', ['acme']),
    await broker.createKey('scanner', ['acme']),
  ]
  const lookUp = (key: string) => broker.get('/v1/credentials?url=https://gitlab.com/acme/web', { key })
  for (let requests = 0; requests < 5; requests += 1) t.equal((await lookUp(busy)).status, 404)
  isLimited(t, await lookUp(busy))
  t.equal((await lookUp(calm)).status, 404)
  broker.clock.advance(61)
  t.equal((await lookUp(busy)).status, 404)
})

t.test('0 is no limit', async (t) => {
  const broker = await startLimited(t, {
    requestsPerKey: 0,
    connectSessionsPerKey: 0,
    flowStartsPerLink: 0,
    tokenChecks: 0,
    wrongKeys: 0,
    failedSignIns: 0,
    socketsPerAddress: 0,
    sockets: 0,
    lateMs: 0,
  })
  for (let tries = 0; tries < 3; tries += 1) {
    t.equal((await broker.get('/v1/instances', { key: WRONG_KEY })).status, 401)
    t.equal((await broker.post('/v1/connect-sessions', { organization: 'acme' })).status, 201)
  }
  t.same(await broker.db.selectFrom('guesses').selectAll().execute(), [])
})

t.test('every limited route exists', async (t) => {
  const { app } = await startTestBroker(t)
  for (const [url, limit] of Object.entries(LIMITED_ROUTES)) {
    const methods = (['GET', 'POST', 'PUT'] as const).filter((method) => app.hasRoute({ method, url }))
    t.ok(
      methods.some((method) => limitOf(method, url) === limit),
      `${limit}: ${url}`,
    )
  }
})
