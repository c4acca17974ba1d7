import { sql } from 'kysely'
import t from 'tap'
import { connectByOAuth, type Stage, setStage, startTestBroker } from '../support/broker.ts'
import { until } from '../support/lifecycle.ts'
import { createSession } from '../support/oauth.ts'
import { type Browser, createBrowser } from '../support/page-forms.ts'

type Started = { browser: Browser; page: string; href: string; userCode: string; location: string }

/** A person opens a connect link, and presses "Connect with a code". */
const start = async (
  { broker, simulator }: Stage,
  session: Parameters<typeof createSession>[1] = {},
): Promise<Started> => {
  const token = await createSession(broker, { methods: ['device'], ...session })
  const browser = createBrowser(broker, broker.publicUrl)
  const link = await browser.open(`/connect?session=${token}`)
  const begun = await browser.submit(link.text, '/connect/device/simulator')
  const location = begun.headers.get('location') ?? ''
  const shown = await browser.open(location)
  const userCode = /<code>([A-Z0-9]{8})<\/code>/.exec(shown.text)?.[1] ?? ''
  t.equal(shown.status, 200, shown.text)
  t.match(shown.text, `href="${simulator.url}/oauth/device"`)
  return { browser, page: shown.text, href: location, userCode, location }
}

const answer = ({ simulator }: Stage, userCode: string, username = 'maria', approved = true) =>
  t.ok(simulator.world.devices.answer(userCode, simulator.world.people.user(username), approved))

const polls = ({ simulator }: Stage): number =>
  simulator.requests
    .all()
    .filter(({ path, grantType }) => path === '/oauth/token' && grantType?.includes('device')).length

const connections = async ({ broker }: Stage, organization = 'acme') =>
  (await broker.get(`/v1/connections?organization=${organization}`)).body.items

const rows = ({ broker }: Stage) =>
  broker.db.selectFrom('authorization_requests').selectAll().orderBy('created_at').execute()

t.test('a person enters the code at GitLab, and is connected', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const { browser, page, href, userCode } = await start(stage)
  t.match(page, 'Connect GitLab to acme with a code')
  t.match(userCode, /^[A-Z2-9]{8}$/)
  const [row] = await rows(stage)
  t.match(row, { device_jwe: /^ey/, poll_seconds: 5, outcome: null, grant_jwe: null })
  t.notOk(JSON.stringify(row).includes(userCode), 'the codes are stored sealed')

  await browser.open(href)
  t.equal(polls(stage), 0, 'GitLab is not asked before its interval has passed')
  clock.advance(5)
  t.match((await browser.open(href)).text, userCode)
  t.equal(polls(stage), 1)
  answer(stage, userCode)
  clock.advance(5)
  const end = await browser.get(href)
  t.equal(end.status, 303)
  const [connection, ...more] = await connections(stage)
  t.same(more, [])
  t.equal(
    end.headers.get('location'),
    `${broker.publicUrl}/connect?status=connected&connection_id=${connection.id}`,
  )
  t.match(connection, { method: 'oauth', status: 'active', user: { username: 'maria' } })
  t.match((await browser.open(end.headers.get('location')!)).text, 'GitLab is connected')
  t.match(await rows(stage), [{ device_jwe: null, grant_jwe: null, outcome: { status: 'connected' } }])
  const again = await browser.get(href)
  t.match(again.headers.get('location'), 'status=connected', 'a reload tells the same')
  t.equal((await broker.get(`/v1/connections/${connection.id}/credential`)).status, 200)
  const events = await broker.get('/v1/audit-events?organization=acme')
  t.match(
    events.body.items.filter(({ action }: { action: string }) => action === 'connection.created'),
    [{ subject_id: connection.id }],
  )
  const log = broker.logLines.join('')
  t.notOk(log.includes(userCode), 'the log has no code')
})

t.test('htmx is led on by its header, and elsewhere where the platform wants the person', async (t) => {
  const stage = await setStage(t)
  const { browser, href, userCode } = await start(stage, { return_url: 'https://app.example.com/done' })
  const waiting = await browser.get(href, { 'hx-request': 'true' })
  t.match(waiting, { status: 200, text: /id="device-state"/ })
  answer(stage, userCode)
  stage.clock.advance(5)
  const end = await browser.get(href, { 'hx-request': 'true' })
  t.equal(end.status, 204)
  t.match(
    end.headers.get('hx-redirect'),
    /^https:\/\/app\.example\.com\/done\?status=connected&connection_id=/,
  )
})

t.test('nobody has to keep the page open, and another replica takes up what one leaves', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const { userCode } = await start(stage)
  answer(stage, userCode)
  await broker.close()
  const other = await startTestBroker(t, { clock, database: broker.database })
  clock.advance(30)
  await other.jobs.completeGrants()
  const { body } = await other.get('/v1/connections?organization=acme')
  t.match(body.items, [{ user: { username: 'maria' } }])
})

t.test('of many that ask at once, one asks GitLab', async (t) => {
  const stage = await setStage(t)
  const { browser, href, userCode } = await start(stage)
  answer(stage, userCode)
  stage.clock.advance(20)
  const ends = await Promise.all([
    ...Array.from({ length: 6 }, () => browser.get(href)),
    stage.broker.jobs.completeGrants(),
    stage.broker.jobs.completeGrants(),
  ])
  t.ok(ends.length > 0)
  t.equal(polls(stage), 1)
  t.equal((await connections(stage)).length, 1)
})

t.test('GitLab sets the pace', async (t) => {
  const stage = await setStage(t)
  const { clock, simulator } = stage
  const { browser, href } = await start(stage)
  simulator.faults.add({
    match: { path: '/oauth/token' },
    effect: { kind: 'status', status: 400, body: JSON.stringify({ error: 'slow_down' }) },
    times: 1,
  })
  clock.advance(5)
  await browser.get(href)
  t.match(await rows(stage), [{ poll_seconds: 10 }])
  clock.advance(5)
  await browser.get(href)
  t.equal(polls(stage), 1, 'five seconds are too soon now')
  clock.advance(5)
  await browser.get(href)
  t.equal(polls(stage), 2)
  simulator.faults.add({ match: { path: '/oauth/token' }, effect: { kind: 'status', status: 503 }, times: 1 })
  clock.advance(10)
  t.match(await browser.get(href), { status: 200 }, 'an outage ends nothing')
  t.equal(polls(stage), 3)
})

t.test('a code ends by a no, by its time, by another start, and with its link', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const codeOf = async ({ browser, href }: Started) => {
    const end = await browser.get(href)
    return new URL(end.headers.get('location') ?? 'about:blank', broker.url).searchParams.get('code')
  }
  const denied = await start(stage)
  answer(stage, denied.userCode, 'maria', false)
  clock.advance(5)
  t.equal(await codeOf(denied), 'access_denied')

  const late = await start(stage)
  clock.advance(301)
  t.equal(await codeOf(late), 'device_code_expired')
  t.match((await late.browser.open(late.href)).text, 'The code was not entered in time')

  const first = await start(stage)
  const link = await first.browser.open('/connect')
  const second = await first.browser.submit(link.text, '/connect/device/simulator')
  t.not(second.headers.get('location'), first.href)
  t.equal(await codeOf(first), 'session_expired', 'one code at a time')

  const withdrawn = await start(stage)
  answer(stage, withdrawn.userCode)
  await broker.db
    .updateTable('access_keys')
    .set({ expires_at: new Date(clock()) })
    .execute()
  clock.advance(5)
  t.equal(await codeOf(withdrawn), 'session_expired')
  t.ok((await rows(stage)).every(({ device_jwe, grant_jwe }) => device_jwe === null || grant_jwe === null))
})

t.test('an account of another organization is connected only after a yes', async (t) => {
  const stage = await setStage(t)
  await connectByOAuth(stage, { organization: 'globex' })
  const { browser, href, userCode } = await start(stage)
  answer(stage, userCode)
  stage.clock.advance(5)
  const asked = await browser.get(href)
  t.equal(asked.headers.get('location'), `${stage.broker.publicUrl}/connect/confirm`)
  t.same(await connections(stage), [])
  const question = await browser.open('/connect/confirm')
  const end = await browser.submit(question.text, '/connect/confirm')
  t.match(end.headers.get('location'), 'status=connected')
  t.equal((await connections(stage)).length, 1)
})

t.test('what GitLab issued is saved before anything else is asked', async (t) => {
  const stage = await setStage(t)
  const { simulator, clock, broker } = stage
  const { browser, href, userCode } = await start(stage)
  answer(stage, userCode)
  simulator.faults.add({
    match: { path: '/oauth/token/info' },
    effect: { kind: 'status', status: 503 },
    times: 1,
  })
  clock.advance(5)
  t.match((await browser.get(href)).text, 'You have allowed access')
  t.match(await rows(stage), [{ device_jwe: null, grant_jwe: /^ey/, outcome: null }])
  clock.advance(120)
  await broker.jobs.completeGrants()
  t.match((await browser.get(href)).headers.get('location'), 'status=connected')
})

t.test('only the browser that began it is shown the code, and only our own form begins it', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const { href, userCode } = await start(stage)
  const stranger = createBrowser(broker, broker.publicUrl)
  const seen = await stranger.get(href)
  t.equal(seen.status, 410)
  t.notMatch(seen.text, userCode)
  for (const fields of [{}, { session: 'FAKE' }])
    t.equal((await stranger.send('/connect/device/simulator', fields)).status, 403)
  const token = await createSession(broker, { methods: ['device'] })
  const page = (await stranger.open(`/connect?session=${token}`)).text
  const [session = ''] = /(?<=name="session" value=")[^"]+/.exec(page) ?? []
  const foreign = await stranger.send(
    '/connect/device/simulator',
    { session },
    {
      'sec-fetch-site': 'cross-site',
      origin: 'https://evil.example.com',
    },
  )
  t.equal(foreign.status, 403)
  const other = createBrowser(broker, broker.publicUrl)
  const oauthOnly = await createSession(broker, { methods: ['oauth'] })
  const { text } = await other.open(`/connect?session=${oauthOnly}`)
  t.notMatch(text, '/connect/device/')
  const [oauthForm = ''] =
    /(?<=name="session" value=")[^"]+/.exec(text.split('/connect/oauth/')[1] ?? '') ?? []
  t.equal((await other.send('/connect/device/simulator', { session: oauthForm })).status, 403)
})

t.test(
  'what a GitLab answers to the start is told, and nobody is sent elsewhere to enter a code',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator } = stage
    const token = await createSession(broker, { methods: ['device'] })
    const browser = createBrowser(broker, broker.publicUrl)
    const { text } = await browser.open(`/connect?session=${token}`)
    const begin = () => browser.submit(text, '/connect/device/simulator')
    simulator.world.devices.setKnown(false)
    t.match(await begin(), { status: 422, text: /This GitLab issues no codes/ })
    simulator.world.devices.setKnown(true)
    const codes = {
      device_code: 'FAKE-device-code',
      user_code: 'ABCD-EFGH',
      verification_uri: `${simulator.url}/oauth/device`,
      interval: 5,
    }
    for (const [what, status, body, wanted] of [
      ['another server', 200, { ...codes, verification_uri: 'https://evil.example.com/oauth/device' }, 422],
      ['a script', 200, { ...codes, verification_uri: 'javascript:alert(1)' }, 422],
      ['credentials', 200, { ...codes, verification_uri: simulator.url.replace('//', '//a:b@') }, 422],
      ['markup', 200, { ...codes, user_code: '<b>ABCD</b>' }, 422],
      ['no code', 200, { ...codes, device_code: undefined }, 422],
      ['no JSON', 200, undefined, 422],
      ['an unknown app', 401, { error: 'invalid_client' }, 503],
      ['a scope', 400, { error: 'invalid_scope' }, 422],
      ['an outage', 503, {}, 503],
    ] as const) {
      simulator.faults.add({
        match: { path: '/oauth/authorize_device' },
        effect: { kind: 'status', status, ...(body === undefined ? {} : { body: JSON.stringify(body) }) },
        times: 1,
      })
      const answered = await begin()
      t.equal(answered.status, wanted, `${what}: ${answered.text.slice(0, 300)}`)
      t.notMatch(answered.text, /evil|javascript:|<b>ABCD/, what)
    }
    t.match(await begin(), { status: 303 })
  },
)

t.test('a link starts 20 flows at most, codes included', async (t) => {
  const stage = await setStage(t)
  const token = await createSession(stage.broker, {})
  const browser = createBrowser(stage.broker, stage.broker.publicUrl)
  const { text } = await browser.open(`/connect?session=${token}`)
  const statuses: number[] = []
  for (let count = 0; count < 21; count += 1)
    statuses.push((await browser.submit(text, '/connect/device/simulator')).status)
  t.same(statuses, [...Array.from({ length: 20 }, () => 303), 410])
})

t.test('tokens that GitLab issues while the database is away are saved after, or revoked', async (t) => {
  const stage = await setStage(t)
  const { broker, clock, simulator } = stage
  const away = (condition: string) =>
    sql
      .raw(
        `create or replace function refuse_grants() returns trigger language plpgsql as $$
      begin
        if new.grant_jwe is not null and old.grant_jwe is null then
          raise exception 'FAKE outage' using errcode = '${condition}';
        end if;
        return new;
      end $$;
      create or replace trigger refuse_grants before update on authorization_requests
        for each row execute function refuse_grants()`,
      )
      .execute(broker.db)
  const back = () => sql`drop trigger refuse_grants on authorization_requests`.execute(broker.db)
  const enter = async () => {
    const started = await start(stage)
    answer(stage, started.userCode)
    clock.advance(5)
    return started
  }
  const lastTokenState = () => simulator.world.events.filter(({ kind }) => kind === 'revoked').length

  const first = await enter()
  await away('57P03')
  const asking = first.browser.get(first.href)
  await until(() => polls(stage) === 1)
  await back()
  t.match((await asking).headers.get('location'), /status=connected/)
  t.equal((await connections(stage)).length, 1)
  t.equal(lastTokenState(), 0)

  await t.test('what cannot be saved is revoked, and the person starts again', async (t) => {
    const second = await enter()
    await away('23514')
    await second.browser.get(second.href)
    await until(() => lastTokenState() === 1)
    await back()
    t.equal((await connections(stage)).length, 1)
  })
})
