import t from 'tap'
import { connectByOAuth, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

const DAY = 86_400
type Check = { name: string; outcome: string; detail: string; cure: string | null }
type Result = { url: string; ready: boolean; checks: Check[] }

t.test('whether a repository can be scanned', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const scanner = await broker.createKey('scanner', ['*'])
  t.beforeEach(() => {
    simulator.faults.clear()
    simulator.requests.clear()
  })
  const at = (path: string) => `${simulator.url}/${path}`
  const ask = (body: object, headers: Record<string, string> = {}, key = scanner) =>
    broker.request('POST', '/v1/credentials/preflight', { key, body, headers })
  const preflight = async (organization: string, path: string, more: object = {}): Promise<Result> =>
    (await ask({ url: at(path), organization, ...more })).body
  const check = ({ checks }: Result, name: string) => checks.find((one) => one.name === name)
  const gitAnswers = (
    path: string,
    effect: { status: number; body?: string; headers?: Record<string, string> },
  ) =>
    simulator.faults.add({
      match: { path: `/${path}.git/info/refs` },
      times: Infinity,
      effect: { kind: 'status', ...effect },
    })
  await connectToken(stage)
  await connectToken(stage, { organization: 'git-only', scopes: ['read_repository'] })

  t.test('yes: every check passes, the token is given back, and no token is told', async (t) => {
    for (const url of [at('acme/web-shop.git'), at('acme/web-shop')]) {
      const answer = await ask({ url, organization: 'acme', scan_seconds: 3_600 })
      t.match(answer, { status: 200, body: { url, ready: true } })
      t.same(
        answer.body.checks.map(({ name, outcome, cure }: Check) => [name, outcome, cure]),
        ['instance', 'connection', 'status', 'token', 'scopes', 'git', 'project', 'lifetime'].map((name) => [
          name,
          'pass',
          null,
        ]),
      )
      t.match(answer.headers.get('content-type'), /^application\/json/)
      t.notMatch(answer.text, /glpat/)
    }
    const leases = await broker.db.selectFrom('leases').selectAll().execute()
    t.ok(leases.every(({ released_at, purpose }) => released_at !== null && purpose === 'preflight'))
  })

  t.test('a URL with a token in it is answered without', async (t) => {
    const { host } = new URL(simulator.url)
    const secret = 'glpat-FAKE-planted-0123456789'
    const urls = [
      secret,
      `http://oauth2:${secret}@${host}/acme/web-shop`,
      `${simulator.url}/acme/web-shop?private_token=${secret}`,
      `git@${host}:acme/${secret}.git`,
    ]
    const answer = await ask({ urls, organization: 'acme' })
    t.equal(answer.status, 200)
    t.notMatch(answer.text, /planted/)
    t.match(answer.body.results[1], { url: `${simulator.url}/acme/web-shop`, ready: true })
  })

  t.test('a token for Git alone says nothing of the API, and is tried without credentials too', async (t) => {
    const result = await preflight('git-only', 'acme/web-shop')
    t.match(result, { ready: true })
    t.match(check(result, 'project'), { outcome: 'skipped', detail: /without read_api/ })
    t.match(check(result, 'git'), { outcome: 'pass', detail: /to nobody without one/ })
  })

  t.test('a public repository proves nothing about the token', async (t) => {
    simulator.world.addProject({ fullPath: 'acme/open', visibility: 'public' })
    for (const organization of ['acme', 'git-only']) {
      const result = await preflight(organization, 'acme/open')
      t.match(
        check(result, 'git'),
        { outcome: 'warn', detail: /public.*proves nothing about the token/ },
        organization,
      )
      t.equal(result.ready, true)
    }
  })

  t.test(
    'gone, private to others, moved, hidden, behind single sign-on, forbidden: each with its cure',
    async (t) => {
      for (const path of ['acme/gone', 'globex/site']) {
        const result = await preflight('acme', path)
        t.match(
          check(result, 'git'),
          { outcome: 'fail', detail: /gone, or .* does not see it/, cure: /Reporter/ },
          path,
        )
        t.match(check(result, 'project'), { outcome: 'fail' })
        t.equal(result.ready, false)
      }
      const cases = [
        [
          { status: 302, headers: { location: at('acme/new-shop.git/info/refs?service=git-upload-pack') } },
          { detail: `The repository has moved: ${at('acme/new-shop.git')}.`, cure: /^Scan http/ },
        ],
        [
          { status: 302, headers: { location: 'https://elsewhere.example/x?secret=FAKE' } },
          { detail: 'The repository has moved.', cure: /new URL/ },
        ],
        [{ status: 302, headers: { location: at('users/sign_in') } }, { detail: /sign-in page: hidden/ }],
        [
          {
            status: 403,
            body: "Cannot find valid SSO session. Please login via your group's SSO at https://x/?token=FAKE",
          },
          { detail: /single sign-on session/, cure: /Ask maria to sign in.*exempt/ },
        ],
        [
          { status: 403, body: 'You are not allowed to download code.' },
          { detail: /scope/, cure: /read_repository/ },
        ],
        [
          { status: 401, body: 'HTTP Basic: Access denied.' },
          { detail: /refuses this token/, cure: /verify/ },
        ],
        [{ status: 418 }, { detail: /answers 418/, cure: /proxy/ }],
        [
          { status: 403, body: 'Forbidden' },
          { detail: /banned the address/, cure: /admin of the GitLab/ },
        ],
      ] as const
      for (const [answer, expected] of cases) {
        simulator.faults.clear()
        const struck = gitAnswers('acme/web-shop', answer)
        const result = await preflight('acme', 'acme/web-shop')
        t.ok(struck.fired() > 0)
        t.match(check(result, 'git'), { outcome: 'fail', ...expected }, JSON.stringify(answer))
        t.equal(result.ready, false)
        t.notMatch(JSON.stringify(result), /FAKE/)
      }
      // The last of them was a ban.
      clock.advance(901)
      simulator.faults.clear()
      simulator.faults.add({
        match: { path: /^\/api\/v4\/projects\// },
        effect: { kind: 'status', status: 301, headers: { location: at('api/v4/projects/7') } },
      })
      const moved = await preflight('acme', 'acme/web-shop')
      t.match(check(moved, 'project'), {
        outcome: 'warn',
        detail: 'In the API: The repository has moved: project 7.',
      })
      t.equal(moved.ready, true, 'Git can read the code')
    },
  )

  t.test('rules of the group are told apart, as GitLab answers them', async (t) => {
    const { groupRules, granular } = simulator.world
    const rules: [set: () => void, detail: RegExp, cure: RegExp][] = [
      [() => groupRules.requireSso('acme'), /single sign-on session/, /exempt/],
      [() => groupRules.restrictAddresses('acme'), /ip_not_allowed/, /allow the address/],
      [() => groupRules.restrictAddresses('acme', 404), /does not see it/, /Reporter/],
      [() => granular.demand('acme'), /fine_grained_required/, /fine-grained token/],
    ]
    for (const [set, detail, cure] of rules) {
      groupRules.clear()
      set()
      for (const organization of ['acme', 'git-only']) {
        const result = await preflight(organization, 'acme/web-shop')
        t.match(check(result, 'git'), { outcome: 'fail', detail, cure }, `${detail} ${organization}`)
        t.notMatch(JSON.stringify(result), /discovery/)
      }
    }
    groupRules.clear()
    granular.release('acme')
    t.match(await preflight('acme', 'acme/web-shop'), { ready: true })
  })

  t.test('an unknown host, no connection, a dead one: each names the cure', async (t) => {
    const { body: unknown } = await ask({ url: 'https://gitlab.nowhere.example/a/b', organization: 'acme' })
    t.match(check(unknown, 'instance'), {
      outcome: 'fail',
      detail: /gitlab\.nowhere\.example/,
      cure: /POST \/v1\/instances/,
    })
    const nobody = await preflight('nobody', 'acme/web-shop')
    t.match(check(nobody, 'connection'), { outcome: 'fail', cure: /connect-sessions/ })
    for (const name of ['status', 'token', 'scopes', 'git', 'project', 'lifetime'])
      t.match(check(nobody, name), { outcome: 'skipped' }, name)
    const dead = await connectToken(stage, { organization: 'dead' })
    simulator.world.revokeToken(dead.token)
    const unaware = await preflight('dead', 'acme/web-shop')
    t.match(check(unaware, 'git'), { outcome: 'fail', detail: /refuses this token/ })
    await broker.post(`/v1/connections/${dead.id}/verify`)
    const known = await preflight('dead', 'acme/web-shop')
    t.match(check(known, 'status'), {
      outcome: 'fail',
      detail: /revoked/,
      cure: /connect-sessions with connection_id/,
    })
    t.match(check(known, 'connection'), { outcome: 'fail', detail: /but its token was revoked/ })
    t.equal(known.ready, false)
  })

  t.test('an insufficient scope', async (t) => {
    const { id } = await connectToken(stage, { organization: 'narrow' })
    await broker.db
      .updateTable('connections')
      .set({ scopes: ['read_user'] })
      .where('id', '=', id)
      .execute()
    const result = await preflight('narrow', 'acme/web-shop')
    t.match(check(result, 'scopes'), {
      outcome: 'fail',
      detail: /takes read_repository/,
      cure: /read_repository/,
    })
    t.match(check(result, 'project'), { outcome: 'skipped' })
    t.equal(result.ready, false)
  })

  t.test('whether the token lives to the end, and what would have to happen otherwise', async (t) => {
    const expiresAt = new Date(clock() + 2 * DAY * 1000).toISOString().slice(0, 10)
    await connectToken(stage, { organization: 'short', expiresAt })
    t.match(check(await preflight('short', 'acme/web-shop', { scan_seconds: 3 * DAY }), 'lifetime'), {
      outcome: 'fail',
      detail: /cannot be renewed/,
      cure: /Ask maria for a new token/,
    })
    await connectByOAuth(stage, { organization: 'oauth' })
    clock.advance(3_000)
    const lifetime = async (scan_seconds: number) =>
      check(await preflight('oauth', 'acme/web-shop', { scan_seconds }), 'lifetime')
    t.match(await lifetime(4_000), { outcome: 'pass' })
    t.match(await lifetime(7_000), { outcome: 'warn', cure: /min_ttl=7000 when the scan starts/ })
    t.match(await lifetime(20_000), { outcome: 'warn', detail: /lives longer than 7200 s/, cure: /extend/ })
    await broker.get(`/v1/credentials?organization=oauth&min_ttl=4000&url=${at('acme/web-shop')}`)
    t.match(await lifetime(7_000), { outcome: 'warn', detail: /others use it until/, cure: /preempt/ })
    t.match(check(await preflight('oauth', 'acme/web-shop'), 'lifetime'), {
      outcome: 'pass',
      detail: /scan_seconds/,
    })
  })

  t.test('many at once, in order or line by line as they end', async (t) => {
    const urls = [at('acme/web-shop'), 'no url', at('acme/gone'), at('acme/platform/api')]
    const whole = await ask({ urls, organization: 'acme' })
    t.match(whole, { status: 200, body: { ready: false } })
    t.same(
      whole.body.results.map(({ url, ready }: Result) => [url, ready]),
      urls.map((url, index) => [url, index === 0 || index === 3]),
    )
    t.match(whole.body.results[1].checks, [{ name: 'url', outcome: 'fail', cure: /URL/ }])

    const held = Promise.withResolvers<void>()
    simulator.faults.add({
      match: { path: '/acme/web-shop.git/info/refs' },
      effect: { kind: 'hold', until: held.promise },
    })
    const response = await fetch(`${broker.url}/v1/credentials/preflight`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${scanner}`,
        'content-type': 'application/json',
        accept: 'application/x-ndjson',
      },
      body: JSON.stringify({ urls, organization: 'acme' }),
    })
    t.equal(response.headers.get('content-type'), 'application/x-ndjson')
    let text = ''
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk
      if (text.split('\n').length > 3) held.resolve()
    }
    const lines: Result[] = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    t.equal(lines.length, 4)
    t.equal(lines.at(-1)?.url, urls[0], 'what waits comes last, and the others did not wait for it')
  })

  t.test('while GitLab is away', async (t) => {
    gitAnswers('acme/web-shop', { status: 503 })
    const away = check(await preflight('acme', 'acme/web-shop'), 'git')
    t.match(away, { outcome: 'fail', detail: /does not answer/, cure: /Ask again/ })
    simulator.faults.clear()
    gitAnswers('acme/web-shop', { status: 429, headers: { 'retry-after': '7' } })
    const limited = check(await preflight('acme', 'acme/web-shop'), 'git')
    t.match(limited, { outcome: 'fail', detail: /does not answer/, cure: 'Ask again in 7 s.' })
  })

  t.test('names what is wrong with the request', async (t) => {
    const url = at('acme/web-shop')
    for (const body of [
      {},
      { url, urls: [url] },
      { urls: [] },
      { url: 1 },
      { url, scan_seconds: 0 },
      { url, more: 1 },
    ])
      t.match(await ask(body), { status: 400, body: { code: 'invalid_request' } }, JSON.stringify(body))
    t.match(await ask({ url: 'no url', organization: 'acme' }), {
      status: 400,
      body: { code: 'invalid_request' },
    })
    t.match(await ask({ url }), { status: 400, body: { code: 'organization_required' } })
    const elsewhere = await broker.createKey('scanner', ['nowhere'])
    t.match(await ask({ url, organization: 'acme' }, {}, elsewhere), { status: 404 })
    t.match(await ask({ urls: [url], organization: 'acme' }, {}, elsewhere), { status: 404 })
  })
})
