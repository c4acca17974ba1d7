import t, { type Test } from 'tap'
import { approve } from '../../simulator/browser.ts'
import { connectByOAuth, type Stage, setStage } from '../support/broker.ts'
import { callBack } from '../support/oauth.ts'
import { createBrowser, formTo } from '../support/page-forms.ts'

const WITHDRAWN = 'This link was withdrawn'

/** What ends the access key of a link: each without a word to the link. */
const ENDINGS: [words: string, end: (stage: Stage, keyId: string) => Promise<unknown>][] = [
  ['deleted', ({ broker }, id) => broker.request('DELETE', `/v1/access-keys/${id}`)],
  [
    'expired',
    ({ broker, clock }, id) =>
      broker.db
        .updateTable('access_keys')
        .set({ expires_at: new Date(clock()) })
        .where('id', '=', id)
        .execute(),
  ],
  [
    'without the organization',
    ({ broker }, id) =>
      broker.db
        .updateTable('access_keys')
        .set({ organizations: ['other'] })
        .where('id', '=', id)
        .execute(),
  ],
]

/** A link whose key a test can end. */
const createLink = async ({ broker }: Stage) => {
  const body = { name: 'platform', role: 'manager', organizations: ['acme'] }
  const { id, key } = (await broker.post('/v1/access-keys', body)).body
  const session = await broker.post('/v1/connect-sessions', { organization: 'acme' }, { key })
  const url = new URL(session.body.url)
  return { keyId: id as string, path: url.pathname + url.search, session: url.searchParams.get('session')! }
}

const countIn = async ({ broker }: Stage, organization: string): Promise<number> =>
  (await broker.get(`/v1/connections?organization=${organization}`)).body.items.length

const eachEnding = (
  name: string,
  body: (t: Test, stage: Stage, end: (id: string) => Promise<unknown>) => Promise<void>,
) => {
  for (const [words, end] of ENDINGS) {
    t.test(`${name}: the access key is ${words}`, async (t) => {
      const stage = await setStage(t)
      await body(t, stage, (id) => end(stage, id))
    })
  }
}

eachEnding('a link whose key has ended opens no page and starts nothing', async (t, stage, end) => {
  const { broker, simulator } = stage
  const link = await createLink(stage)
  const browser = createBrowser(broker, broker.url)
  const { text } = await browser.open(link.path)
  await end(link.keyId)

  const start = await broker.get(`/oauth/simulator/start?session=${link.session}`, { key: null })
  t.equal(start.headers.get('location'), `${broker.url}/connect?status=failed&code=session_expired`)
  const fresh = await createBrowser(broker, broker.url).get(link.path)
  t.equal(fresh.status, 410)
  t.match(fresh.text, WITHDRAWN)
  t.match((await browser.get('/connect')).text, WITHDRAWN, 'the browser that had opened it')

  const { token } = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: ['read_repository'],
  })
  const filledIn = { token, base_url: simulator.url }
  for (const path of ['/connect/oauth/simulator', '/connect/token', '/connect/oauth-token']) {
    const answer = await browser.submit(text, path, filledIn)
    t.equal(answer.status, 410, path)
    t.match(answer.text, WITHDRAWN, path)
  }
  const { fields } = formTo(text, '/connect/token')
  t.match((await browser.send('/connect/verify?place=token', { ...fields, ...filledIn })).text, WITHDRAWN)
  t.equal(await countIn(stage, 'acme'), 0)
})

eachEnding('a callback after the end of the key asks GitLab for no token', async (t, stage, end) => {
  const { broker, simulator } = stage
  const link = await createLink(stage)
  const browser = createBrowser(broker, broker.url)
  const start = await browser.submit((await browser.open(link.path)).text, '/connect/oauth/simulator')
  const callback = await approve(start.headers.get('location')!, { username: 'maria' })
  await end(link.keyId)
  simulator.requests.clear()
  t.equal((await callBack(broker, new URL(callback), browser.cookieHeader())).code, 'session_expired')
  t.equal(simulator.requests.count({ path: '/oauth/token' }), 0)
  t.equal(await countIn(stage, 'acme'), 0)
})

eachEnding('a key that ends while GitLab is asked whose account it is', async (t, stage, end) => {
  const { broker, simulator } = stage
  const link = await createLink(stage)
  const browser = createBrowser(broker, broker.url)
  const start = await browser.submit((await browser.open(link.path)).text, '/connect/oauth/simulator')
  const callback = await approve(start.headers.get('location')!, { username: 'maria' })
  const { promise: ended, resolve: goOn } = Promise.withResolvers<void>()
  simulator.faults.add({ match: { path: '/oauth/token/info' }, effect: { kind: 'hold', until: ended } })
  const answer = callBack(broker, new URL(callback), browser.cookieHeader())
  while (simulator.requests.count({ path: '/oauth/token/info' }) === 0) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  await end(link.keyId)
  goOn()
  t.equal((await answer).code, 'session_expired')
  t.equal(await countIn(stage, 'acme'), 0)
  t.equal(simulator.world.events.filter(({ kind }) => kind === 'revoked').length, 1, 'revoked at GitLab')
})

eachEnding('a pasted token that is being verified while the key ends', async (t, stage, end) => {
  const { broker, simulator } = stage
  const link = await createLink(stage)
  const browser = createBrowser(broker, broker.url)
  const { text } = await browser.open(link.path)
  const { token } = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: ['read_repository'],
  })
  const { promise: ended, resolve: goOn } = Promise.withResolvers<void>()
  const self = { path: '/api/v4/personal_access_tokens/self' }
  simulator.faults.add({ match: self, effect: { kind: 'hold', until: ended } })
  const answer = browser.submit(text, '/connect/token', { token, base_url: simulator.url })
  while (simulator.requests.count(self) === 0) await new Promise((resolve) => setImmediate(resolve))
  await end(link.keyId)
  goOn()
  t.equal((await answer).status, 410)
  t.equal(await countIn(stage, 'acme'), 0)
})

eachEnding('a question is not answered after the end of the key', async (t, stage, end) => {
  const { broker, simulator } = stage
  await connectByOAuth(stage, { organization: 'globex' })
  const link = await createLink(stage)
  const browser = createBrowser(broker, broker.url)
  const start = await browser.submit((await browser.open(link.path)).text, '/connect/oauth/simulator')
  const question = await browser.open(await approve(start.headers.get('location')!, { username: 'maria' }))
  await end(link.keyId)
  t.equal((await browser.submit(question.text, '/connect/confirm')).status, 410)
  t.equal((await browser.get('/connect/confirm')).status, 410)
  t.equal(await countIn(stage, 'acme'), 0)
  t.equal(simulator.world.events.filter(({ kind }) => kind === 'revoked').length, 1, 'revoked at GitLab')
})

eachEnding('background work completes nothing for a key that has ended', async (t, stage, end) => {
  const { broker, simulator, clock } = stage
  const link = await createLink(stage)
  const browser = createBrowser(broker, broker.url)
  const start = await browser.submit((await browser.open(link.path)).text, '/connect/oauth/simulator')
  const callback = await approve(start.headers.get('location')!, { username: 'maria' })
  simulator.faults.add({ match: { path: '/oauth/token/info' }, effect: { kind: 'status', status: 502 } })
  t.equal((await callBack(broker, new URL(callback), browser.cookieHeader())).code, 'gitlab_unavailable')
  await end(link.keyId)
  clock.advance(60)
  await broker.jobs.completeGrants()
  t.equal(await countIn(stage, 'acme'), 0)
  const left = await broker.db.selectFrom('authorization_requests').select('grant_jwe').execute()
  t.same(left, [{ grant_jwe: null }])
  t.equal(simulator.world.events.filter(({ kind }) => kind === 'revoked').length, 1, 'revoked at GitLab')
})
