import t from 'tap'
import { ADMIN_KEY, connectByOAuth, type Stage, setStage } from '../support/broker.ts'
import { type Browser, createBrowser, formTo } from '../support/page-forms.ts'

const createVisitor = ({ broker }: Pick<Stage, 'broker'>) => createBrowser(broker, broker.publicUrl)

/** Signs in, and reads the page of the accounts. */
const signIn = async (visitor: Browser, key = ADMIN_KEY) => {
  t.equal((await visitor.send('/connect/sign-in', { access_key: key })).status, 303)
  return visitor.get('/connect')
}

const linkPath = async ({ broker }: Pick<Stage, 'broker'>, body: object = {}): Promise<string> => {
  const { url } = (await broker.post('/v1/connect-sessions', { organization: 'acme', ...body })).body
  return new URL(url).pathname + new URL(url).search
}

const tokenOf = ({ simulator }: Stage, username = 'maria') =>
  simulator.world.createAccessToken({ kind: 'personal', username, scopes: ['read_user', 'read_repository'] })
    .token

t.test('pages forbid everything but our own files, are stored nowhere, and show in no frame', async (t) => {
  const { broker } = await setStage(t)
  for (const path of ['/', '/connect', '/connect/sign-in', '/connect?session=gcs_FAKE', '/connect/undo']) {
    const { headers } = await broker.get(path, { key: null })
    if (path !== '/connect/undo') {
      const policy = headers.get('content-security-policy') ?? ''
      for (const rule of [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
      ]) {
        t.ok(policy.includes(rule), `${path}: ${rule}`)
      }
      t.notMatch(policy, /unsafe|https?:|\*/)
    }
    t.equal(headers.get('cache-control'), 'no-store')
  }
})

t.test('files of the page may be kept for ever, and a path of another version is not', async (t) => {
  const { broker } = await setStage(t)
  const { text } = await broker.get('/connect', { key: null })
  const paths = [...text.matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g)].map(([, path]) => path as string)
  t.equal(new Set(paths).size, 5)
  for (const path of paths) {
    const answer = await broker.get(path, { key: null })
    t.equal(answer.status, 200, path)
    t.equal(answer.headers.get('cache-control'), 'public, max-age=31536000, immutable', path)
  }
  const old = await broker.get('/assets/AAAAAAAAAAAA/page.css', { key: null })
  t.equal(old.status, 200)
  t.notMatch(old.headers.get('cache-control') ?? '', /immutable/)
  for (const path of ['/assets/x/package.json', '/assets/x/..%2f..%2fpackage.json', '/assets/x/htmx.js']) {
    t.equal((await broker.get(path, { key: null })).status, 404, path)
  }
})

t.test('a form of another site does nothing, whatever it holds', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const visitor = createVisitor(stage)
  const { text } = await visitor.open(await linkPath(stage))
  const session = formTo(text, '/connect/oauth/simulator').fields
  const fields = { ...session, token: tokenOf(stage), base_url: simulator.url }
  const origin = broker.url
  const foreign: Record<string, string>[] = [
    { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example.com' },
    { 'sec-fetch-site': 'same-site', origin },
    { 'sec-fetch-site': 'none', origin },
    { 'sec-fetch-site': 'cross-site', origin },
    // A host name of theirs that leads to us: "same-origin" for the browser.
    { 'sec-fetch-site': 'same-origin', origin: 'http://rebound.example.com' },
    { 'sec-fetch-site': 'same-origin', origin: 'null' },
  ]
  for (const headers of foreign) {
    const words = JSON.stringify(headers)
    t.equal((await visitor.send('/connect/token', fields, headers)).status, 403, words)
    t.equal((await visitor.send('/connect/sign-in', { access_key: ADMIN_KEY }, headers)).status, 403, words)
    t.equal((await visitor.send('/connect/oauth/simulator', session, headers)).status, 403, words)
    t.equal((await visitor.send('/connect/confirm', session, headers)).status, 403, words)
    t.equal((await visitor.send('/connect/open', session, headers)).status, 403, words)
  }
  t.same((await broker.get('/v1/connections')).body.items, [])
  t.same(await broker.db.selectFrom('authorization_requests').select('id').execute(), [])

  /** A browser without Fetch Metadata says its origin. */
  const signInFrom = (headers: Record<string, string>) =>
    broker.request('POST', '/connect/sign-in', {
      key: null,
      rawBody: new URLSearchParams({ access_key: ADMIN_KEY }).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    })
  t.equal((await signInFrom({ origin })).status, 303)
  t.equal((await signInFrom({})).status, 403, 'nobody says where it comes from')
  t.equal((await signInFrom({ referer: `${broker.url}/connect` })).status, 403, 'a referrer proves nothing')
  for (const stranger of ['https://evil.example.com', 'null', `${broker.url}.evil.example.com`]) {
    t.equal((await signInFrom({ origin: stranger })).status, 403, stranger)
  }
  t.equal((await visitor.send('/connect/oauth/simulator', session)).status, 303, 'and our own page may')
})

t.test(
  'cookies are sealed, unreadable for scripts, and of no use under another name or changed',
  async (t) => {
    const stage = await setStage(t)
    const visitor = createVisitor(stage)
    const path = await linkPath(stage)
    const entered = await visitor.get(path)
    const [line = ''] = entered.headers.getSetCookie()
    t.match(line, /; Path=\/; HttpOnly; SameSite=Lax$/)
    t.notOk(line.includes('gcs_'))
    t.equal(entered.headers.get('location'), '/connect')
    await visitor.send('/connect/sign-in', { access_key: ADMIN_KEY })
    t.strictSame([...visitor.cookies.keys()], ['connect-sign-in'], 'signing in leaves the link')
    const sealed = visitor.cookies.get('connect-sign-in') ?? ''
    t.notOk(sealed.includes(ADMIN_KEY))

    for (const cookie of [
      `connect-link=${sealed}`,
      `connect-receipt=${sealed}`,
      `connect-sign-in=${sealed.slice(0, -2)}AA`,
      `connect-sign-in=${Buffer.from('{"alg":"dir","enc":"A256GCM","kid":"x","cid":"connect-sign-in","ver":1,"use":"cookie"}').toString('base64url')}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`,
      'connect-sign-in=x',
    ]) {
      const { status, text } = await stage.broker.get('/connect', { key: null, headers: { cookie } })
      t.equal(status, 200, cookie.slice(0, 40))
      t.match(text, /<h2 id="sign-in-heading">/)
    }
  },
)

t.test('over https every cookie is a __Host- cookie', async (t) => {
  const publicUrl = 'https://broker.example.com'
  const stage = await setStage(t, { broker: { config: { publicUrl } } })
  const visitor = createVisitor(stage)
  const answer = await visitor.send('/connect/sign-in', { access_key: ADMIN_KEY })
  const lines = answer.headers.getSetCookie().filter((line) => !/=;/.test(line))
  t.match(lines, [/^__Host-connect-sign-in=[^;]+; Path=\/; HttpOnly; Secure; SameSite=Lax$/])
})

t.test('below a path, links, forms and files stay below it', async (t) => {
  const stage = await setStage(t, { broker: { config: { publicUrl: 'https://example.com/broker' } } })
  const visitor = createVisitor(stage)
  const { text } = await visitor.get('/connect')
  const paths = [...text.matchAll(/(?:href|src|action)="(\/[^"]*)"/g)].map(([, path]) => path as string)
  t.ok(paths.length > 5)
  for (const path of paths) t.match(path, /^\/broker\//)
  const answer = await visitor.send('/connect/sign-in', { access_key: ADMIN_KEY })
  t.equal(answer.headers.get('location'), '/broker/connect')
  t.match(answer.headers.getSetCookie().at(-1), /Path=\/broker;/)
})

t.test('names from GitLab and parameters of the address are text, never markup', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const script = `<img src=x onerror=alert(1)>"'`
  simulator.world.addUser({ username: 'mallory', name: script })
  const connected = await broker.post('/v1/connections/personal-access-token', {
    organization: 'acme',
    name: script,
    base_url: simulator.url,
    token: tokenOf(stage, 'mallory'),
  })
  t.equal(connected.status, 201)
  const visitor = createVisitor(stage)
  await signIn(visitor)
  const id: string = connected.body.id
  const encoded = encodeURIComponent(script)
  const pages = await Promise.all(
    [
      '/connect',
      `/connect?done=verified&connection_id=${id}`,
      `/connect?done=${encoded}&connection_id=${encoded}`,
      `/connect?status=failed&code=${encoded}`,
      `/connect?status=${encoded}`,
      `/connect?status=connected&connection_id=${encoded}`,
      `/connect?organization=${encoded}`,
      `/connect?after=${encoded}`,
      '/connect?status=failed&code=constructor',
      '/connect?status=failed&code=access_denied&code=invalid_state',
      `/connect/connections/${id}/disconnect`,
      `/connect/connections/${encoded}/disconnect`,
      `/connect?session=${encoded}`,
    ].map((path) => visitor.get(path, { 'sec-fetch-site': 'same-origin' })),
  )
  for (const { text, status } of pages) {
    t.ok(status < 500, text)
    t.notOk(text.includes('<img src=x'), text)
  }
  t.ok(pages[0]?.text.includes('&lt;img src=x onerror=alert(1)&gt;'), 'it is there, as text')
  const home = (await visitor.get('/connect?organization=acme')).text
  const { fields } = formTo(home, '/connect/token')
  const report = await visitor.send('/connect/verify?place=token', {
    ...fields,
    token: tokenOf(stage, 'mallory'),
    base_url: simulator.url,
    group: script,
  })
  t.notOk(report.text.includes('<img src=x'))
  t.match(report.text, 'That is not a group or project')
  const refused = await visitor.submit(home, '/connect/token', {
    token: 'FAKE-token-0123456789',
    base_url: script,
    group: script,
  })
  t.notOk(refused.text.includes('<img src=x'))
})

t.test('a result belongs to the browser that connected: an id in the address shows nothing', async (t) => {
  const stage = await setStage(t)
  const id = await connectByOAuth(stage)
  const visitor = createVisitor(stage)
  const { text } = await visitor.get(`/connect?status=connected&connection_id=${id}`)
  t.notMatch(text, /maria|acme/)
  t.equal((await visitor.send('/connect/undo')).status, 403)
  t.equal((await stage.broker.get(`/v1/connections/${id}`)).status, 200)
})

t.test('undoing undoes what the page shows, once, and not after a quarter of an hour', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const connect = async () => {
    const visitor = createVisitor(stage)
    const { text } = await visitor.open(await linkPath(stage))
    const filledIn = { token: tokenOf(stage), base_url: simulator.url }
    const answer = await visitor.submit(text, '/connect/token', filledIn)
    t.equal(answer.status, 303, answer.text)
    return { visitor, page: (await visitor.open(answer.headers.get('location') ?? '')).text }
  }
  const { visitor, page } = await connect()
  t.equal((await visitor.submit(page, '/connect/undo')).status, 303)
  t.same((await broker.get('/v1/connections')).body.items, [])
  t.ok(
    simulator.world.events.every(({ kind }) => kind !== 'revoked'),
    'a pasted token may have other uses: it stays valid',
  )
  t.equal((await visitor.submit(page, '/connect/undo')).status, 404)

  const late = await connect()
  clock.advance(901)
  t.equal((await late.visitor.submit(late.page, '/connect/undo')).status, 403)
  t.equal((await broker.get('/v1/connections')).body.items.length, 1)
})

t.test('two submissions with one link at once connect one account', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const visitor = createVisitor(stage)
  const { text } = await visitor.open(await linkPath(stage))
  const answers = await Promise.all(
    ['maria', 'tom'].map((username) =>
      visitor.submit(text, '/connect/token', { token: tokenOf(stage, username), base_url: simulator.url }),
    ),
  )
  t.same(answers.map(({ status }) => status).sort(), [303, 410])
  t.equal((await broker.get('/v1/connections')).body.items.length, 1)
})

t.test('a fault of ours is a page with the request in it, and nothing of the fault', async (t) => {
  const stage = await setStage(t)
  const visitor = createVisitor(stage)
  await visitor.send('/connect/sign-in', { access_key: ADMIN_KEY })
  await stage.broker.database.close()
  const { status, text, headers } = await visitor.get('/connect')
  t.ok(status >= 500)
  t.match(headers.get('content-type'), 'text/html')
  t.ok(text.includes(headers.get('x-request-id') ?? 'none'))
  t.notMatch(text, /select|kysely|stack|at /i)
})

t.test('tokens, keys and links that were entered are in no log', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const visitor = createVisitor(stage)
  const path = await linkPath(stage)
  const token = tokenOf(stage)
  const { text } = await visitor.open(path)
  const { fields } = formTo(text, '/connect/token')
  const filledIn = { ...fields, token, base_url: simulator.url }
  t.match((await visitor.send('/connect/verify?place=token', filledIn)).text, 'This token works')
  t.equal((await visitor.send('/connect/token', filledIn)).status, 303)
  await visitor.send('/connect/sign-in', { access_key: ADMIN_KEY })
  const log = broker.logLines.join('\n')
  t.ok(log.includes('/connect/token'))
  for (const secret of [token, ADMIN_KEY, path.split('=')[1] as string, fields.session ?? ''])
    t.notOk(log.includes(secret))
})
