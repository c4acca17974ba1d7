import t from 'tap'
import { ADMIN_KEY, type Stage, setStage } from '../support/broker.ts'
import { createBrowser, formTo } from '../support/page-forms.ts'
import { pageTests, tokenForm } from './stage.ts'

const test = pageTests(t)
const SCOPES = ['read_user', 'read_api', 'read_repository']
const LONGER_THAN_THE_PAGE_WAITS_MS = 1_000
const STRANGER = 'https://gitlab.company.example'
/** A resolver may answer that there is no such host, or not answer. */
const NOT_THERE = /There is no server of this name|GitLab does not answer/

test('the server is named before the token, and no server is named for the person', async (t, {
  open,
  link,
}) => {
  const { page } = await open()
  await page.goto(await link())
  const form = tokenForm(page)
  t.equal(await form.baseUrl.inputValue(), '')
  const order = await page.evaluate<boolean>(
    `document.querySelector('#base-url').compareDocumentPosition(document.querySelector('#token'))
      === Node.DOCUMENT_POSITION_FOLLOWING`,
  )
  t.ok(order, 'the base URL comes first')
  await form.token.fill('glpat-FAKE-pasted-before-anything')
  await form.report.getByText('Enter the GitLab base URL first').waitFor()
})

test('a token goes to no server while its address is being typed', async (t, stage) => {
  const { open, link, token, simulator, broker } = stage
  // Two registered instances, of which the address of one begins with that of the other.
  const longer = `${simulator.url}/gitlab`
  await broker.post('/v1/instances', { base_url: longer, allow_private_network: true })
  const { page } = await open()
  await page.clock.install()
  await page.goto(await link())
  const form = tokenForm(page)
  await form.token.fill(token('maria', SCOPES))
  await form.report.getByText('Enter the GitLab base URL first').waitFor()
  simulator.requests.clear()
  await form.baseUrl.focus()
  await page.keyboard.type(simulator.url)
  await page.clock.runFor(LONGER_THAN_THE_PAGE_WAITS_MS)
  await page.keyboard.type('/gitlab')
  await page.clock.runFor(LONGER_THAN_THE_PAGE_WAITS_MS)
  await form.token.focus()
  await form.report.getByText('There is no GitLab at this address').waitFor()
  const paths = simulator.requests.all().map(({ path }) => path)
  t.ok(paths.length > 0)
  for (const path of paths) t.match(path, /^\/gitlab\//, 'nothing was sent to the shorter address')
})

test('a token that was pasted a moment before the address is changed goes nowhere either', async (t, stage) => {
  const { open, link, token, simulator } = stage
  const { page } = await open()
  await page.clock.install()
  await page.goto(await link())
  const checks: string[] = []
  page.on('request', (request) => {
    const sent = new URLSearchParams(request.postData() ?? '')
    if (sent.get('token')) checks.push(sent.get('base_url') ?? '')
  })
  const form = tokenForm(page)
  await form.baseUrl.fill(`${simulator.url}/git`)
  await form.token.fill(token('maria', SCOPES))
  await form.baseUrl.focus()
  await page.clock.runFor(LONGER_THAN_THE_PAGE_WAITS_MS)
  await form.baseUrl.fill(simulator.url)
  await form.group.focus()
  await form.report.getByText('This token works').waitFor()
  t.same(checks, [simulator.url])
})

test('a server that nobody has registered is asked after a button that names it', async (t, stage) => {
  const { open, link, broker } = stage
  const { page } = await open()
  await page.goto(await link())
  const form = tokenForm(page)
  await form.baseUrl.fill(STRANGER)
  await form.token.fill('glpat-FAKE-of-the-company')
  const button = form.report.getByRole('button', { name: 'Ask gitlab.company.example' })
  await button.waitFor()
  await form.report.getByText('Nothing was sent there.').waitFor()
  await button.click()
  await form.report.getByText(NOT_THERE).waitFor()
  t.equal(await button.count(), 0)

  await form.baseUrl.fill('https://gitlab.co')
  await form.group.focus()
  await form.report.getByRole('button', { name: 'Ask gitlab.co', exact: true }).waitFor()
  await form.baseUrl.fill(STRANGER)
  await form.group.focus()
  await button.waitFor()
  t.equal((await broker.get('/v1/instances')).body.items.length, 2, 'nothing was stored')
})

test('without JavaScript the form comes back with the button', async (t, { open, link }) => {
  const { page } = await open({ javaScriptEnabled: false })
  await page.goto(await link())
  const form = tokenForm(page)
  await form.baseUrl.fill(STRANGER)
  await form.token.fill('glpat-FAKE-of-the-company')
  await form.connect.click()
  const button = form.report.getByRole('button', { name: 'Ask gitlab.company.example' })
  await button.waitFor()
  t.equal(await form.token.inputValue(), '')
  t.equal(await form.baseUrl.inputValue(), STRANGER)
  await form.token.fill('glpat-FAKE-of-the-company')
  await button.click()
  await form.report.getByText(NOT_THERE).waitFor()
})

const openForm = async ({ broker }: Stage, body: object = {}) => {
  const browser = createBrowser(broker, broker.url)
  const link = await broker.post('/v1/connect-sessions', { organization: 'acme', ...body })
  return { browser, text: (await browser.open(link.body.url)).text }
}

/** Asked in the log or not: each request to GitLab ends there with what came of it. */
t.test('the server sends no token to a host that the form does not name twice', async (t) => {
  const stage = await setStage(t)
  const { browser, text } = await openForm(stage)
  const { fields } = formTo(text, '/connect/token')
  const token = 'glpat-FAKE-of-the-company'
  const cases: [base_url: string, ask: string | undefined, asks: boolean][] = [
    [STRANGER, undefined, true],
    [STRANGER, 'https://gitlab.co', true],
    [STRANGER, `${STRANGER}/gitlab`, true],
    [STRANGER, 'gitlab.company.example', false],
    [`${STRANGER}/`, STRANGER, false],
    ['gitlab.com.evil.example', 'https://gitlab.com', true],
    [stage.simulator.url.replace('127.0.0.1', '127.0.0.1.evil.example'), stage.simulator.url, true],
    // A page of a registered instance.
    [`${stage.simulator.url}/other`, undefined, false],
    [stage.simulator.url, undefined, false],
  ]
  for (const [base_url, ask, asks] of cases) {
    const filledIn = { ...fields, token, base_url, ...(ask === undefined ? {} : { ask }) }
    const words = `${base_url}, asked: ${ask}`
    const report = await browser.send('/connect/verify?place=token', filledIn)
    t.equal(/Nothing was sent there/.test(report.text), asks, words)
    const sent = await browser.send('/connect/token', filledIn)
    t.equal(/Nothing was sent there/.test(sent.text), asks, words)
    t.ok(sent.status >= 400, words)
  }
})

t.test('the fields of a form name one server only', async (t) => {
  const stage = await setStage(t)
  const { browser, text } = await openForm(stage)
  const { fields } = formTo(text, '/connect/oauth-token')
  const filledIn = {
    ...fields,
    token: 'FAKE-oauth-token-0123456789',
    oauth_app: 'simulator',
    base_url: STRANGER,
  }
  t.match((await browser.send('/connect/oauth-token', filledIn)).text, 'The form names two servers')
})

t.test('UNREGISTERED_INSTANCES=refuse: no token goes to a server that nobody has registered', async (t) => {
  const stage = await setStage(t, { broker: { config: { unregisteredInstances: 'refuse' } } })
  const { broker, simulator } = stage
  const token = 'glpat-FAKE-of-the-company'
  const refused = { status: 422, body: { code: 'instance_not_registered' } }
  for (const base_url of [
    STRANGER,
    'https://gitlab.com.evil.example',
    simulator.url.replace('127.0.0.1', '127.0.0.1.evil.example'),
    'http://127.0.0.1:9',
  ]) {
    t.match(await broker.post('/v1/tokens/verify', { base_url, token }), refused, base_url)
    const body = { organization: 'acme', base_url }
    t.match(await broker.post('/v1/connections/personal-access-token', { ...body, token }), refused)
    t.match(await broker.post('/v1/connections/oauth-token', { ...body, access_token: token }), refused)
  }
  t.match(await broker.post('/v1/tokens/verify', { base_url: 'not a url', token }), { status: 400 })
  t.match(await broker.post('/v1/tokens/verify', { base_url: simulator.url, token }), {
    status: 200,
    body: { reason: 'token_unknown' },
  })

  const { browser, text } = await openForm(stage)
  const { fields } = formTo(text, '/connect/token')
  for (const ask of [{}, { ask: STRANGER }]) {
    const filledIn = { ...fields, token, base_url: STRANGER, ...ask }
    t.match(
      (await browser.send('/connect/verify?place=token', filledIn)).text,
      'This GitLab is not registered here',
    )
    const sent = await browser.send('/connect/token', filledIn)
    t.equal(sent.status, 422)
    t.match(sent.text, 'This GitLab is not registered here')
  }
  const real = simulator.world.createAccessToken({ kind: 'personal', username: 'maria', scopes: SCOPES })
  const sent = await browser.send('/connect/token', { ...fields, token: real.token, base_url: simulator.url })
  t.equal(sent.status, 303, 'a registered one works')

  const { id } = (await broker.get('/v1/instances')).body.items.find(
    (item: { base_url: string }) => item.base_url === 'https://gitlab.com',
  )
  await broker.request('DELETE', `/v1/instances/${id}`, { key: ADMIN_KEY })
  t.match(await broker.post('/v1/tokens/verify', { token }), refused, 'gitlab.com has to be registered, too')
})
