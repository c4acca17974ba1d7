import t from 'tap'
import { setStage } from '../support/broker.ts'
import { authorize, callBack, createSession, openStart } from '../support/oauth.ts'
import { createBrowser, formTo } from '../support/page-forms.ts'

const countStarts = async (stage: { broker: { db: Awaited<ReturnType<typeof setStage>>['broker']['db'] } }) =>
  (await stage.broker.db.selectFrom('authorization_requests').select('id').execute()).length

t.test(
  'GET starts nothing: it leads to the page, which says who asks, for which organization, for what',
  async (t) => {
    const stage = await setStage(t)
    const { broker } = stage
    const key = await broker.createKey('manager', ['acme'])
    const answer = await broker.post('/v1/connect-sessions', { organization: 'acme' }, { key })
    const session = new URL(answer.body.url).searchParams.get('session')!
    const { first, page, browser } = await openStart(broker, session)
    t.equal(first.status, 303)
    t.equal(first.headers.get('location'), `${broker.url}/connect`)
    t.equal(first.headers.get('cache-control'), 'no-store')
    t.equal(await countStarts(stage), 0)

    t.match(page.text, 'You are connecting GitLab for acme.')
    t.match(page.text, 'The access key “a manager” asks for this.')
    for (const words of [
      'Read your profile: name, user name and email address <code>read_user</code>',
      'Read (clone) the repositories that you can read <code>read_repository</code>',
    ])
      t.ok(page.text.includes(words), words)
    t.equal(formTo(page.text, '/connect/oauth/simulator').action, `${broker.url}/connect/oauth/simulator`)

    const start = await browser.submit(page.text, '/connect/oauth/simulator')
    t.equal(start.status, 303)
    t.match(start.headers.get('location'), `${stage.simulator.url}/oauth/authorize?`)
    t.equal(await countStarts(stage), 1)
  },
)

t.test('a GET of the address that the form has starts nothing', async (t) => {
  const stage = await setStage(t)
  const { browser } = await openStart(stage.broker, await createSession(stage.broker))
  const answer = await browser.get('/connect/oauth/simulator', { 'sec-fetch-site': 'same-origin' })
  t.equal(answer.status, 404)
  t.equal(await countStarts(stage), 0)
})

t.test('HEAD does not run the callback, nor a stranger who has no cookie', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const { callback, cookie } = await authorize(stage)
  const head = await broker.request('HEAD', callback.pathname + callback.search, {
    key: null,
    headers: { cookie },
  })
  t.equal(head.status, 404)
  t.equal((await callBack(broker, callback, '')).code, 'invalid_state')
  t.equal((await callBack(broker, callback, cookie)).status, 'connected', 'it is still unspent')
})

t.test('flows for two organizations go on side by side in one browser', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const started = [
    await authorize(stage, { organization: 'alpha', username: 'maria' }),
    await authorize(stage, { organization: 'beta', username: 'tom' }),
  ]
  const cookie = started.map((one) => one.cookie).join('; ')
  for (const { callback } of started) t.equal((await callBack(broker, callback, cookie)).status, 'connected')
  const { body } = await broker.get('/v1/connections')
  t.same(
    body.items.map((item: { organization: string; user: { username: string } }) => [
      item.organization,
      item.user.username,
    ]),
    [
      ['alpha', 'maria'],
      ['beta', 'tom'],
    ],
  )
})

t.test('a link starts twenty flows at most, also when they start at once', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const { page, browser } = await openStart(broker, await createSession(broker))
  const answers = await Promise.all(
    Array.from({ length: 25 }, () => browser.submit(page.text, '/connect/oauth/simulator')),
  )
  t.equal(answers.filter(({ status }) => status === 303).length, 20)
  const refused = answers.filter(({ status }) => status !== 303)
  for (const { status, text } of refused) {
    t.equal(status, 410)
    t.match(text, 'This link was tried too often')
  }
  t.equal(await countStarts(stage), 20)
  const other = createBrowser(broker, broker.url)
  const next = await other.open(`/oauth/simulator/start?session=${await createSession(broker)}`)
  t.equal((await other.submit(next.text, '/connect/oauth/simulator')).status, 303, 'another link does')
})
