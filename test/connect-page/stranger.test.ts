import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { connectByOAuth } from '../support/broker.ts'
import { createBrowser, formTo } from '../support/page-forms.ts'
import { type ConnectStage, pageTests, signIn, throughGitLab, tokenForm } from './stage.ts'

const test = pageTests(t)
const SCOPES = ['read_user', 'read_api', 'read_repository']

type Site = { url: string; answer(path: string, response: { location: string } | { html: string }): void }

/** A web site of somebody else, at an origin of its own. */
const startSite = async (t: Test): Promise<Site> => {
  const answers = new Map<string, { location: string } | { html: string }>()
  const server = createServer(({ url = '/' }, response) => {
    const answer = answers.get(url.split('?')[0] ?? '')
    if (answer && 'location' in answer) response.writeHead(302, { location: answer.location }).end()
    else response.writeHead(answer ? 200 : 404, { 'content-type': 'text/html' }).end(answer?.html)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve)))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, answer: (path, response) => void answers.set(path, response) }
}

/** A person who is signed in at GitLab, where the app holds a living token of theirs: GitLab asks no more. */
const openWithConsent = async (stage: ConnectStage, organization: string): Promise<Page> => {
  const { page } = await stage.open()
  await page.goto(await stage.link({ organization }))
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await throughGitLab(page, { user: 'Maria Rossi' })
  await page.getByText(`You connected GitLab user maria to ${organization}.`).waitFor()
  return page
}

const organizationsOf = async ({ broker }: ConnectStage): Promise<string[]> =>
  (await broker.get('/v1/connections')).body.items.map(
    ({ organization }: { organization: string }) => organization,
  )

const countStarts = async ({ broker }: ConnectStage): Promise<number> =>
  (await broker.db.selectFrom('authorization_requests').select('id').execute()).length

test('no site can connect a visitor to the organization of its own link', async (t, stage) => {
  const { broker, link } = stage
  const page = await openWithConsent(stage, 'acme')
  const starts = await countStarts(stage)
  const site = await startSite(t)

  // The attacker knows the token of the link, and what the form of its page holds.
  const evil = new URL(await link({ organization: 'evil' }))
  const attacker = createBrowser(broker, broker.url)
  const { fields } = formTo((await attacker.open(evil.href)).text, '/connect/oauth/simulator')
  const start = `${broker.url}/oauth/simulator/start${evil.search}`
  const post = (action: string) =>
    `<form method="post" action="${broker.url}${action}">
      <input type="hidden" name="session" value="${fields.session}"></form>
    <script>document.forms[0].submit()</script>`
  const lures: [name: string, html: string, words: string][] = [
    [
      '/redirect',
      `<meta http-equiv="refresh" content="0; url=${start}">`,
      'You are connecting GitLab for evil.',
    ],
    ['/link', `<script>location = '${evil.href}'</script>`, 'You are connecting GitLab for evil.'],
    ['/post', post('/connect/oauth/simulator'), 'That came from another site'],
    ['/confirm', post('/connect/confirm'), 'That came from another site'],
    ['/open', post('/connect/open'), 'That came from another site'],
    [
      '/old',
      `<script>location = '${broker.url}/connect/oauth/simulator?organization=evil'</script>`,
      'not_found',
    ],
  ]
  for (const [path, html, words] of lures) {
    site.answer(path, { html })
    await page.goto(site.url + path)
    await page.getByText(words).first().waitFor()
    t.equal(await countStarts(stage), starts, `${path} starts nothing`)
  }
  site.answer('/frame', { html: `<iframe src="${start}"></iframe><img src="${start}">` })
  await page.goto(`${site.url}/frame`)
  await page.waitForLoadState('networkidle')
  t.equal(await countStarts(stage), starts, 'a frame starts nothing')
  t.same(await organizationsOf(stage), ['acme'])

  // And whoever presses the button all the same is asked once more, with the name of the account.
  await page.goto(start)
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await page.getByRole('heading', { name: 'Connect GitLab user maria to evil?' }).waitFor()
  t.same(await organizationsOf(stage), ['acme'])
  await page.getByRole('button', { name: 'Do not connect' }).click()
  await page.getByRole('alert').getByText('Access was not granted').waitFor()
  t.same(await organizationsOf(stage), ['acme'])
})

test('a site cannot take a sign-in away, nor use it', async (t, stage) => {
  const { open, broker, link } = stage
  const { page } = await open()
  await signIn(page, broker.url, await broker.createKey('manager', ['acme']))
  const site = await startSite(t)
  site.answer('/', { html: `<script>location = '${await link({ organization: 'evil' })}'</script>` })
  await page.goto(site.url)
  await page.getByRole('heading', { name: 'Open the link for evil?' }).waitFor()
  await page.getByRole('link', { name: 'Back, without opening the link' }).click()
  await page.getByRole('heading', { name: 'Connected accounts' }).waitFor()
  t.equal(await page.getByText('evil').count(), 0)

  for (const path of ['/connect/sign-out', '/connect/oauth/simulator', '/connect/token']) {
    site.answer('/', {
      html: `<form method="post" action="${broker.url}${path}"></form><script>document.forms[0].submit()</script>`,
    })
    await page.goto(site.url)
    await page.getByText('That came from another site').waitFor()
  }
  await page.goto(`${broker.url}/connect`)
  await page.getByRole('heading', { name: 'Connected accounts' }).waitFor()
  t.equal(await countStarts(stage), 0)
})

test('two tabs with two links each connect their own organization, through GitLab at the same time', async (t, stage) => {
  const { open, link } = stage
  const { page: first } = await open()
  const second = await first.context().newPage()
  await first.goto(await link({ organization: 'alpha' }))
  await second.goto(await link({ organization: 'beta' }))
  await first.getByText('You are connecting GitLab for alpha.').waitFor()
  await second.getByText('You are connecting GitLab for beta.').waitFor()

  await first.getByRole('button', { name: /^Connect with/ }).click()
  await first.getByRole('button', { name: 'Maria Rossi' }).click()
  await first.getByRole('button', { name: 'Authorize' }).waitFor()
  await second.getByRole('button', { name: /^Connect with/ }).click()
  await second.getByRole('button', { name: 'Authorize' }).waitFor()
  await first.getByRole('button', { name: 'Authorize' }).click()
  await first.getByText('You connected GitLab user maria to alpha.').waitFor()
  await second.getByRole('button', { name: 'Authorize' }).click()
  await second.getByRole('heading', { name: 'Connect GitLab user maria to beta?' }).waitFor()
  t.same(await organizationsOf(stage), ['alpha'])
  await second.getByRole('button', { name: 'Connect to beta' }).click()
  await second.getByText('You connected GitLab user maria to beta.').waitFor()
  t.same(await organizationsOf(stage), ['alpha', 'beta'])

  // Each tab undoes what it shows, whatever the other has done since.
  await first.getByRole('button', { name: 'Not me: disconnect' }).click()
  await first.getByText('Nothing of that account is left here').waitFor()
  t.same(await organizationsOf(stage), ['beta'])
})

test('a form that leads to GitLab is followed through the servers that sign its people in', async (t, stage) => {
  const { open, link, simulator } = stage
  const identityProvider = await startSite(t)
  const { page } = await open()
  await page.goto(await link({ return_url: 'https://app.example.com/done' }))
  let asked = ''
  page.on('request', (request) => {
    if (request.url().startsWith(`${simulator.url}/oauth/authorize?`)) asked = request.url()
  })
  page.on('request', (request) => {
    if (request.url().startsWith(identityProvider.url)) identityProvider.answer('/', { location: asked })
  })
  simulator.faults.add({
    match: { path: '/oauth/authorize' },
    effect: { kind: 'status', status: 302, headers: { location: `${identityProvider.url}/sso` } },
  })
  identityProvider.answer('/sso', { location: `${identityProvider.url}/` })
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await page.getByRole('button', { name: 'Maria Rossi' }).click()
  await page.getByRole('button', { name: 'Authorize' }).waitFor()
  t.match(page.url(), `${simulator.url}/oauth/authorize`)
})

test('each way to connect works for a guest and for a member', async (t, stage) => {
  const { open, link, broker, simulator, token } = stage
  const issue = () =>
    simulator.world.issueOAuthToken({ username: 'tom', clientId: 'simulator-client', scopes: SCOPES })
      .accessToken
  const ways: [name: string, who: string, connect: (page: Page) => Promise<void>][] = [
    [
      'OAuth',
      'maria',
      async (page) => {
        await page.getByRole('button', { name: /^Connect with/ }).click()
        await page.getByRole('button', { name: 'Maria Rossi' }).click()
      },
    ],
    [
      'token',
      'maria',
      async (page) => {
        const form = tokenForm(page)
        await form.baseUrl.fill(simulator.url)
        await form.token.fill(token('maria', SCOPES))
        await form.connect.click()
      },
    ],
    [
      'OAuth token',
      'tom',
      async (page) => {
        await page.getByText('I have an OAuth access token already').click()
        await page.getByLabel('OAuth access token', { exact: true }).fill(issue())
        await page.getByRole('button', { name: 'Connect this token' }).click()
      },
    ],
  ]
  for (const [name, who, connect] of ways) {
    for (const kind of ['guest', 'member']) {
      const organization = `${kind}-${name}`.toLowerCase().replace(' ', '-')
      const { page } = await open()
      if (kind === 'guest') await page.goto(await link({ organization }))
      else await signIn(page, broker.url, await broker.createKey('manager', [organization]))
      await connect(page)
      const done = page.getByText(`You connected GitLab user ${who} to ${organization}.`)
      const asked = page.getByRole('button', { name: `Connect to ${organization}` })
      // GitLab asks only who has no living token of the app; we ask when another organization has the account.
      const authorize = page.getByRole('button', { name: 'Authorize' })
      await authorize.or(asked).or(done).first().waitFor()
      if (await authorize.isVisible()) await authorize.click()
      await asked.or(done).first().waitFor()
      if (await asked.isVisible()) await asked.click()
      await done.waitFor()
    }
  }
  t.equal((await organizationsOf(stage)).length, 6)
})

test('a link whose key is gone says so in the tab that is open', async (_t, stage) => {
  const { open, broker } = stage
  const key = await broker.createKey('manager', ['acme'])
  const session = await broker.post('/v1/connect-sessions', { organization: 'acme' }, { key })
  const { page } = await open()
  await page.goto(session.body.url)
  const keys = (await broker.get('/v1/access-keys')).body.items
  const { id } = keys.find(({ role }: { role: string }) => role === 'manager')
  await broker.request('DELETE', `/v1/access-keys/${id}`)
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await page.getByText('This link was withdrawn').waitFor()
})

test('an account of another tenant is named in the question by nobody but itself', async (t, stage) => {
  const { open, link } = stage
  await connectByOAuth(stage, { organization: 'secret-tenant' })
  const { page } = await open()
  await page.goto(await link())
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await page.getByRole('button', { name: 'Maria Rossi' }).click()
  await page.getByRole('heading', { name: 'Connect GitLab user maria to acme?' }).waitFor()
  t.notMatch(await page.content(), 'secret-tenant')
  await page.getByRole('button', { name: 'Connect to acme' }).click()
  await page.getByText('You connected GitLab user maria to acme.').waitFor()
})
