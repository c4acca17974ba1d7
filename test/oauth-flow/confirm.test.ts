import t from 'tap'
import { approve } from '../../simulator/browser.ts'
import { connectByOAuth, type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { type Browser, createBrowser } from '../support/page-forms.ts'

/** Connects through GitLab's pages, up to the answer of the callback. */
const goThrough = async (
  { broker }: Stage,
  body: { organization: string; return_url?: string; expires_in?: number },
  username = 'maria',
) => {
  const { url } = (await broker.post('/v1/connect-sessions', body)).body
  const browser = createBrowser(broker, broker.url)
  const start = await browser.submit((await browser.open(url)).text, '/connect/oauth/simulator')
  const callback = await browser.get(await approve(start.headers.get('location')!, { username }))
  return { browser, callback, location: callback.headers.get('location') ?? '' }
}

const ask = async (
  stage: Stage,
  body: Parameters<typeof goThrough>[1],
): Promise<{ browser: Browser; page: string }> => {
  const { browser, location } = await goThrough(stage, body)
  t.equal(location, `${stage.broker.url}/connect/confirm`)
  const page = await browser.open(location)
  t.equal(page.status, 200, page.text)
  return { browser, page: page.text }
}

const countIn = async ({ broker }: Stage, organization: string): Promise<number> =>
  (await broker.get(`/v1/connections?organization=${organization}`)).body.items.length

const grantsOf = ({ broker }: Stage) =>
  broker.db
    .selectFrom('authorization_requests')
    .select(['granted_at', 'confirm_until'])
    .where('grant_jwe', 'is not', null)
    .execute()

const revocations = ({ simulator }: Stage) =>
  simulator.world.events.filter(({ kind }) => kind === 'revoked').length

t.test('an account of another organization is connected only after a yes', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  await connectByOAuth(stage, { organization: 'globex' })
  const { browser, page } = await ask(stage, { organization: 'acme' })
  t.match(page, 'Connect GitLab user maria to acme?')
  t.notMatch(page, 'globex', 'organizations learn nothing of each other')
  t.equal(await countIn(stage, 'acme'), 0)

  clock.advance(120)
  await broker.jobs.completeGrants()
  t.equal(await countIn(stage, 'acme'), 0, 'background work leaves it to the person')
  t.match(await grantsOf(stage), [{ granted_at: null, confirm_until: Date }], 'nor does a broker of before')

  const end = await browser.submit(page, '/connect/confirm')
  t.equal(end.status, 303)
  t.match(end.headers.get('location'), `${broker.url}/connect?status=connected&connection_id=`)
  t.equal(await countIn(stage, 'acme'), 1)
  t.match((await browser.open(end.headers.get('location')!)).text, 'You connected GitLab user maria to acme.')
  t.same(await grantsOf(stage), [])
  t.equal((await browser.submit(page, '/connect/confirm')).status, 410, 'once')
  t.equal(revocations(stage), 0)
})

t.test('it does not matter how the account was connected there', async (t) => {
  const stage = await setStage(t)
  await connectToken(stage, { organization: 'globex' })
  await ask(stage, { organization: 'acme' })
})

t.test('an account that is connected nowhere else, or here, is not asked about', async (t) => {
  const stage = await setStage(t)
  await connectByOAuth(stage, { organization: 'globex', username: 'tom' })
  for (let round = 0; round < 2; round += 1) {
    const { location } = await goThrough(stage, { organization: 'acme' })
    t.match(location, /status=connected/)
  }
})

t.test('after a no, GitLab revokes the grant and nothing of it stays; the link works again', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  await connectByOAuth(stage, { organization: 'globex' })
  const { browser, page } = await ask(stage, { organization: 'acme' })
  const end = await browser.submit(page, '/connect/decline')
  t.equal(end.headers.get('location'), `${broker.url}/connect?status=failed&code=access_denied`)
  t.equal(await countIn(stage, 'acme'), 0)
  t.equal(revocations(stage), 1)
  t.same(await grantsOf(stage), [])
  t.equal((await browser.submit(page, '/connect/confirm')).status, 410, 'a no is a no')
  t.match((await browser.open('/connect')).text, 'You are connecting GitLab for acme.')
  t.equal((await broker.get('/v1/connections?organization=globex')).body.items[0].status, 'active')
})

t.test('a no while GitLab is away is carried out when GitLab is back', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  await connectByOAuth(stage, { organization: 'globex' })
  const { browser, page } = await ask(stage, { organization: 'acme' })
  simulator.faults.add({ match: { path: '/oauth/revoke' }, effect: { kind: 'status', status: 502 } })
  t.match((await browser.submit(page, '/connect/decline')).headers.get('location'), 'access_denied')
  t.equal((await browser.submit(page, '/connect/confirm')).status, 410)
  clock.advance(60)
  await broker.jobs.completeGrants()
  t.equal(revocations(stage), 1)
  t.same(await grantsOf(stage), [])
})

t.test('without an answer the grant is dropped after a quarter of an hour, or with the link', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  await connectByOAuth(stage, { organization: 'globex' })
  for (const { expires_in, seconds } of [
    { expires_in: 3600, seconds: 901 },
    { expires_in: 60, seconds: 61 },
  ]) {
    const before = revocations(stage)
    const { browser, page } = await ask(stage, { organization: 'acme', expires_in })
    clock.advance(seconds)
    const late = await browser.submit(page, '/connect/confirm')
    t.equal(late.status, 410)
    await broker.jobs.completeGrants()
    t.equal(revocations(stage), before + 1)
    t.same(await grantsOf(stage), [])
    t.equal(await countIn(stage, 'acme'), 0)
    const { body } = await broker.get('/v1/audit-events?action=grant.dropped')
    t.match(body.items[0], { outcome: 'success', organization: 'acme', details: { reason: null } })
  }
})

t.test('a platform hears the outcome after the answer, not before', async (t) => {
  const stage = await setStage(t)
  await connectByOAuth(stage, { organization: 'globex' })
  const return_url = 'https://app.example.com/done'
  const { browser, page } = await ask(stage, { organization: 'acme', return_url })
  const end = await browser.submit(page, '/connect/confirm')
  t.match(end.headers.get('location'), `${return_url}?status=connected&connection_id=`)
  const second = await ask(stage, { organization: 'acme', return_url })
  const no = await second.browser.submit(second.page, '/connect/decline')
  t.equal(no.headers.get('location'), `${return_url}?status=failed&code=access_denied`)
})

t.test('two presses of yes at once connect once, and revoke nothing', async (t) => {
  const stage = await setStage(t)
  await connectByOAuth(stage, { organization: 'globex' })
  const { browser, page } = await ask(stage, { organization: 'acme' })
  const ends = await Promise.all([1, 2, 3].map(() => browser.submit(page, '/connect/confirm')))
  t.same(ends.map(({ status }) => status).sort(), [303, 410, 410])
  t.equal(await countIn(stage, 'acme'), 1)
  t.equal(revocations(stage), 0, 'the token of the connection lives')
})

t.test('GitLab away at the yes: the question stays, and a second yes connects', async (t) => {
  const stage = await setStage(t)
  const { simulator, clock } = stage
  await connectByOAuth(stage, { organization: 'globex' })
  const { browser, page } = await ask(stage, { organization: 'acme' })
  simulator.faults.add({ match: { path: '/oauth/token/info' }, effect: { kind: 'status', status: 502 } })
  t.equal((await browser.submit(page, '/connect/confirm')).status, 503)
  clock.advance(60)
  t.equal(
    (await browser.submit((await browser.open('/connect/confirm')).text, '/connect/confirm')).status,
    303,
  )
  t.equal(await countIn(stage, 'acme'), 1)
})

t.test('background work does not connect an account of another organization', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  await connectByOAuth(stage, { organization: 'globex' })
  simulator.faults.add({ match: { path: '/oauth/token/info' }, effect: { kind: 'status', status: 502 } })
  const { location } = await goThrough(stage, { organization: 'acme' })
  t.match(location, 'code=gitlab_unavailable')
  clock.advance(60)
  await broker.jobs.completeGrants()
  t.equal(await countIn(stage, 'acme'), 0)
  clock.advance(901)
  await broker.jobs.completeGrants()
  t.equal(await countIn(stage, 'acme'), 0)
  t.equal(revocations(stage), 1)
  t.same(await grantsOf(stage), [])
})

t.test('a browser that was not asked has no question to answer', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const stranger = createBrowser(broker, broker.url)
  t.equal((await stranger.get('/connect/confirm')).status, 410)
  t.equal((await stranger.send('/connect/confirm')).status, 403)
})
