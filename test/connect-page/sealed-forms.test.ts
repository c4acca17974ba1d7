import t from 'tap'
import { ADMIN_KEY, connectByOAuth, type Stage, setStage } from '../support/broker.ts'
import { type Browser, createBrowser, formsOf, formTo } from '../support/page-forms.ts'

const createVisitor = ({ broker }: Pick<Stage, 'broker'>) => createBrowser(broker, broker.publicUrl)

const createLink = async ({ broker }: Pick<Stage, 'broker'>, body: object = {}, key = ADMIN_KEY) => {
  const answer = await broker.post('/v1/connect-sessions', { organization: 'acme', ...body }, { key })
  return answer.body.url as string
}

const tokenOf = ({ simulator }: Stage, username = 'maria') =>
  simulator.world.createAccessToken({ kind: 'personal', username, scopes: ['read_user', 'read_repository'] })
    .token

const signIn = async (visitor: Browser, key: string): Promise<string> => {
  await visitor.send('/connect/sign-in', { access_key: key })
  return (await visitor.get('/connect')).text
}

const organizationsOf = async ({ broker }: Stage): Promise<string[]> =>
  (await broker.get('/v1/connections')).body.items.map(
    ({ organization }: { organization: string }) => organization,
  )

t.test('no form does anything without what the page put into it', async (t) => {
  const stage = await setStage(t)
  const id = await connectByOAuth(stage)
  const visitor = createVisitor(stage)
  const home = await signIn(visitor, await stage.broker.createKey('manager', ['acme']))
  const paths = formsOf(home).map(({ action }) => new URL(action, stage.broker.url).pathname)
  t.ok(paths.length >= 5, paths.join(' '))
  for (const { action, fields } of formsOf(home)) t.ok(fields.session, action)
  const others = [
    '/connect/open',
    '/connect/leave',
    '/connect/undo',
    '/connect/confirm',
    '/connect/decline',
    `/connect/connections/${id}/disconnect`,
    `/connect/connections/${id}/replace`,
    `/connect/connections/${id}/rotate`,
  ]
  const { session = '' } = formTo(home, '/connect/token').fields
  for (const path of [...new Set([...paths, ...others])]) {
    const wrong: Record<string, string>[] = [
      {},
      { session: '' },
      { session: 'FAKE' },
      { session: `${session.slice(0, -2)}${session.endsWith('AA') ? 'BB' : 'AA'}` },
      { session: visitor.cookies.get('connect-sign-in') ?? '' },
      ...(others.includes(path) ? [{ session }] : []),
    ]
    for (const fields of wrong) {
      const answer = await visitor.send(path, {
        token: tokenOf(stage),
        base_url: stage.simulator.url,
        ...fields,
      })
      t.equal(answer.status, 403, `${path} ${JSON.stringify(fields).slice(0, 40)}`)
      t.match(answer.text, 'This page is out of date')
    }
  }
  t.equal((await stage.broker.get(`/v1/connections/${id}`)).body.status, 'active')
  t.same(await organizationsOf(stage), ['acme'])
})

t.test('with two links open in two tabs, each form connects the organization that it shows', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const visitor = createVisitor(stage)
  const alpha = (await visitor.open(await createLink(stage, { organization: 'alpha' }))).text
  const beta = (await visitor.open(await createLink(stage, { organization: 'beta' }))).text
  t.match(alpha, 'You are connecting GitLab for alpha.')
  t.match(beta, 'You are connecting GitLab for beta.')
  t.match((await visitor.get('/connect')).text, 'for alpha', 'the second link replaces nothing')

  const token = { token: tokenOf(stage), base_url: simulator.url }
  const mixed = await visitor.submit(beta, '/connect/token', { ...token, organization: 'alpha' })
  t.equal(mixed.status, 403)
  t.match(mixed.text, 'This page is out of date')
  t.equal((await visitor.submit(alpha, '/connect/token', token)).status, 303)
  t.same(await organizationsOf(stage), ['alpha'])
  t.equal((await visitor.submit(beta, '/connect/token', token)).status, 303)
  t.same(await organizationsOf(stage), ['alpha', 'beta'])
})

t.test('a form of a link reaches its own organization only', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const id = await connectByOAuth(stage, { organization: 'globex' })
  const visitor = createVisitor(stage)
  const { text } = await visitor.open(await createLink(stage))
  const { session = '' } = formTo(text, '/connect/token').fields
  for (const action of ['disconnect', 'verify', 'replace', 'rotate']) {
    const answer = await visitor.send(`/connect/connections/${id}/${action}`, { session })
    t.equal(answer.status, 403, action)
  }
  t.equal((await visitor.get(`/connect/connections/${id}/disconnect`)).status, 401)
  t.equal((await broker.get(`/v1/connections/${id}`)).body.status, 'active')
})

t.test('a form of one account does nothing to another', async (t) => {
  const stage = await setStage(t)
  const mine = await connectByOAuth(stage, { organization: 'acme' })
  const other = await connectByOAuth(stage, { organization: 'acme', username: 'tom' })
  const theirs = await connectByOAuth(stage, { organization: 'globex' })
  const visitor = createVisitor(stage)
  const home = await signIn(visitor, await stage.broker.createKey('manager', ['acme']))
  const { fields } = formTo(home, `/connect/connections/${mine}/verify`)
  for (const id of [other, theirs]) {
    for (const action of ['disconnect', 'verify', 'replace', 'rotate']) {
      t.equal((await visitor.send(`/connect/connections/${id}/${action}`, fields)).status, 403, action)
    }
    t.equal((await stage.broker.get(`/v1/connections/${id}`)).body.status, 'active')
  }
  t.equal((await visitor.get(`/connect/connections/${theirs}/disconnect`)).status, 404)
  t.equal((await visitor.send(`/connect/connections/${mine}/verify`, fields)).status, 303)
})

t.test('a page from before another sign-in does nothing, and says why', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const visitor = createVisitor(stage)
  const [first, second] = [
    await broker.createKey('manager', ['acme']),
    await broker.createKey('manager', ['acme']),
  ]
  const old = await signIn(visitor, first)
  await signIn(visitor, second)
  const filledIn = { token: tokenOf(stage), base_url: simulator.url }
  for (const path of ['/connect/token', '/connect/oauth/simulator']) {
    const answer = await visitor.submit(old, path, filledIn)
    t.equal(answer.status, 403, path)
    t.match(answer.text, 'This page is out of date', path)
  }
  await visitor.submit((await visitor.get('/connect')).text, '/connect/sign-out')
  t.equal((await visitor.submit(old, '/connect/token', filledIn)).status, 401, 'nobody is signed in')
  t.same(await organizationsOf(stage), [])
})

t.test('a link asks before it opens where somebody is signed in, and takes nothing from them', async (t) => {
  const stage = await setStage(t)
  const id = await connectByOAuth(stage)
  const visitor = createVisitor(stage)
  const accounts = await signIn(visitor, ADMIN_KEY)
  const before = new Map(visitor.cookies)
  const question = await visitor.open(await createLink(stage, { organization: 'globex' }))
  t.match(question.text, 'Open the link for globex?')
  t.match(question.text, 'You are signed in as bootstrap admin (admin).')
  t.same(visitor.cookies, before, 'following the link changed nothing')
  t.match((await visitor.get('/connect')).text, 'Connected accounts')

  t.equal((await visitor.submit(question.text, '/connect/open')).status, 303)
  const page = (await visitor.get('/connect')).text
  t.match(page, 'You are connecting GitLab for globex.')
  t.equal(
    (await visitor.submit(accounts, `/connect/connections/${id}/verify`)).status,
    303,
    'the other tab works',
  )
  await visitor.submit(page, '/connect/leave')
  t.match((await visitor.get('/connect')).text, 'Connected accounts')
})

t.test('a browser keeps four links open; one more asks', async (t) => {
  const stage = await setStage(t)
  const visitor = createVisitor(stage)
  const names = ['one', 'two', 'three', 'four']
  for (const organization of names) {
    const { text } = await visitor.open(await createLink(stage, { organization }))
    t.match(text, `You are connecting GitLab for ${organization}.`)
  }
  const question = await visitor.open(await createLink(stage, { organization: 'five' }))
  t.match(question.text, 'Open the link for five?')
  await visitor.submit(question.text, '/connect/open')
  t.match((await visitor.get('/connect')).text, 'for five')
  t.ok((visitor.cookies.get('connect-link') ?? '').length < 1_500)
})

t.test('HEAD, previews and prefetches change nothing', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const link = await createLink(stage)
  const path = new URL(link).pathname + new URL(link).search
  const start = `/oauth/simulator/start${new URL(link).search}`
  for (const address of [path, start]) {
    const head = await broker.request('HEAD', address, { key: null })
    t.ok(head.status < 500)
    t.same(head.headers.getSetCookie(), [], address)
  }
  for (const headers of [
    { 'sec-purpose': 'prefetch' },
    { 'sec-purpose': 'prefetch;prerender' },
    { purpose: 'prefetch' },
  ]) {
    const answer = await broker.get(path, { key: null, headers: headers as Record<string, string> })
    t.same(answer.headers.getSetCookie(), [])
    t.match(answer.text, 'Open the link for acme?')
  }
  const visitor = createVisitor(stage)
  await signIn(visitor, ADMIN_KEY)
  clock.advance(120)
  const head = await broker.request('HEAD', '/connect', {
    key: null,
    headers: { cookie: visitor.cookieHeader() },
  })
  t.equal(head.status, 200)
  t.same(head.headers.getSetCookie(), [], 'a sign-in is not prolonged')
  t.same(await broker.db.selectFrom('authorization_requests').select('id').execute(), [])
})

t.test('a link that allows one way takes no other, whatever is sent', async (t) => {
  const stage = await setStage(t)
  const filledIn = { token: tokenOf(stage), base_url: stage.simulator.url }
  for (const { methods, shown, refused } of [
    {
      methods: ['token'],
      shown: '/connect/token',
      refused: ['/connect/oauth/simulator', '/connect/oauth-token'],
    },
    { methods: ['oauth'], shown: '/connect/oauth/simulator', refused: ['/connect/token'] },
  ]) {
    const visitor = createVisitor(stage)
    const { text } = await visitor.open(await createLink(stage, { methods }))
    const { fields } = formTo(text, shown)
    for (const path of refused) {
      t.equal((await visitor.send(path, { ...fields, ...filledIn })).status, 403, path)
    }
  }
  t.same(await organizationsOf(stage), [])
  t.same(await stage.broker.db.selectFrom('authorization_requests').select('id').execute(), [])
})

t.test('a key that is deleted while GitLab verifies a pasted token connects nothing', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const body = { name: 'short', role: 'manager', organizations: ['acme'] }
  const { id, key } = (await broker.post('/v1/access-keys', body)).body
  const visitor = createVisitor(stage)
  const home = await signIn(visitor, key)
  const { promise: deleted, resolve: goOn } = Promise.withResolvers<void>()
  const self = { path: '/api/v4/personal_access_tokens/self' }
  simulator.faults.add({ match: self, effect: { kind: 'hold', until: deleted } })
  const answer = visitor.submit(home, '/connect/token', { token: tokenOf(stage), base_url: simulator.url })
  while (simulator.requests.count(self) === 0) await new Promise((resolve) => setImmediate(resolve))
  await broker.request('DELETE', `/v1/access-keys/${id}`)
  goOn()
  t.equal((await answer).status, 401)
  t.same(await organizationsOf(stage), [])
})
