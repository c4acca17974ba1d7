import t from 'tap'
import { pageTests, throughGitLab, tokenForm } from './stage.ts'

const test = pageTests(t)

test('a person connects by OAuth, from the link to the confirmation of who it was', async (t, {
  open,
  link,
  broker,
}) => {
  const { page } = await open()
  await page.goto(await link())
  t.equal(page.url(), `${broker.url}/connect`, 'the token of the link is gone from the address')
  await page.getByText('You are connecting GitLab for acme.').waitFor()
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await throughGitLab(page, { user: 'Maria Rossi' })

  await page.getByText('You connected GitLab user maria to acme.').waitFor()
  const { body } = await broker.get('/v1/connections')
  t.equal(body.items.length, 1)
  t.equal(body.items[0].user.username, 'maria')
  await page.reload()
  await page.getByText('You connected GitLab user maria to acme.').waitFor()
})

test('who was it not undoes it, revokes it at GitLab, and uses the same link again', async (t, {
  open,
  link,
  broker,
  simulator,
}) => {
  const { page } = await open()
  await page.goto(await link())
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await throughGitLab(page, { user: 'Maria Rossi' })
  await page.getByText('Not maria?').waitFor()
  await page.getByRole('button', { name: 'Not me: disconnect' }).click()

  await page.getByText('Nothing of that account is left here').waitFor()
  t.same((await broker.get('/v1/connections')).body.items, [])
  const issued = simulator.world.events.filter(({ kind }) => kind === 'revoked')
  t.equal(issued.length, 1, 'revoked at GitLab')

  await page.context().clearCookies({ name: '_gitlab_session' })
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await throughGitLab(page, { user: 'Tom Novak' })
  await page.getByText('You connected GitLab user tom to acme.').waitFor()
})

test('a connection that was there before cannot be undone by who only renewed it', async (t, {
  open,
  link,
  broker,
}) => {
  const { page } = await open()
  for (const words of [
    'You connected GitLab user maria',
    'GitLab user maria was connected to acme already',
  ]) {
    await page.goto(await link())
    await page.getByRole('button', { name: /^Connect with/ }).click()
    if (words.startsWith('You')) await throughGitLab(page, { user: 'Maria Rossi' })
    await page.getByText(words).waitFor()
  }
  t.equal(await page.getByRole('button', { name: 'Not me: disconnect' }).count(), 0)
  t.equal((await broker.get('/v1/connections')).body.items.length, 1)
})

test('who denies at GitLab reads that nothing was connected, and can begin again', async (t, {
  open,
  link,
  broker,
}) => {
  const { page } = await open()
  await page.goto(await link())
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await throughGitLab(page, { user: 'Maria Rossi', choice: 'Deny' })

  await page.getByRole('alert').getByText('Access was not granted').waitFor()
  t.same((await broker.get('/v1/connections')).body.items, [])
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await page.getByRole('button', { name: 'Authorize' }).click()
  await page.getByText('You connected GitLab user maria to acme.').waitFor()
})

test('a token that is typed is verified at once, and then connected', async (t, {
  open,
  link,
  token,
  broker,
  simulator,
}) => {
  const { page } = await open()
  await page.goto(await link())
  const form = tokenForm(page)
  await form.baseUrl.fill(simulator.url)
  t.equal(
    await page.getByRole('link', { name: /^Create one with the right scopes/ }).getAttribute('href'),
    `${simulator.url}/-/user_settings/personal_access_tokens?name=Code+scanning&scopes=read_api,read_repository,read_user`,
    'the help follows the base URL',
  )
  await form.group.fill('acme')
  const pasted = token('maria', ['api', 'read_repository'], '2026-11-14')
  await form.token.fill(pasted)

  await form.report.getByText('This token works, but not for long').waitFor()
  const report = ((await form.report.textContent()) ?? '').replace(/\s+/g, ' ')
  for (const words of [
    'Maria Rossi @maria',
    'Personal access token',
    '14 November 2026 at 00:00 UTC (in 11 days)',
    'The token reaches acme',
    'api allows more than scanning needs',
  ]) {
    t.ok(report.includes(words), `${words}: ${report}`)
  }
  t.notOk((await page.content()).includes(pasted), 'the token is in no markup')
  t.same((await broker.get('/v1/connections')).body.items, [], 'nothing is stored yet')

  await form.connect.click()
  await page.getByText('You connected GitLab user maria to acme.').waitFor()
  const [connection] = (await broker.get('/v1/connections')).body.items
  t.match(connection, { group: 'acme', token_kind: 'personal_access_token', base_url: simulator.url })
  t.notOk((await page.content()).includes(pasted))
})

test('every refusal of a token says what helps, before and after Connect', async (t, stage) => {
  const { open, link, token, simulator, clock, broker } = stage
  const { world } = simulator
  world.addGroup({ fullPath: 'initech', members: ['tom'] })
  const expired = token('maria', ['read_repository'], '2026-11-03')
  clock.advance(86_400)
  const revoked = token('maria', ['read_repository'])
  world.revokeToken(revoked)
  const blocked = token('blake', ['read_repository'])
  const oauth = world.issueOAuthToken({
    username: 'maria',
    clientId: 'simulator-client',
    scopes: ['read_repository'],
  }).accessToken
  const newToken = `${simulator.url}/-/user_settings/personal_access_tokens?name=Code+scanning&scopes=read_api,read_repository,read_user`

  const refusals: {
    token: string
    words: string
    group?: string
    baseUrl?: string
    asks?: string
    href?: string
  }[] = [
    { token: 'glpat-FAKE-never-issued-here', words: 'GitLab does not know this token', href: newToken },
    { token: expired, words: 'The token has expired', href: newToken },
    { token: revoked, words: 'The token was revoked', href: newToken },
    { token: blocked, words: 'The account is blocked' },
    { token: token('maria', ['read_user']), words: 'The token lacks read_repository', href: newToken },
    {
      token: token('maria', ['read_api', 'read_repository']),
      group: 'initech',
      words: 'The token does not reach initech',
      href: simulator.url,
    },
    { token: oauth, words: 'This kind of token belongs elsewhere' },
    { token: 'two words of it', words: 'There are spaces in the token' },
    {
      token: token('maria', ['read_repository']),
      baseUrl: 'javascript:alert(1)',
      words: 'That is not the address of a server',
    },
    {
      token: token('maria', ['read_repository']),
      baseUrl: 'http://10.0.0.1',
      asks: 'Ask 10.0.0.1',
      words: 'This address is not allowed',
    },
  ]
  const { page } = await open()
  await page.goto(await link({ expires_in: 3600 }))
  for (const { token: pasted, words, group = '', baseUrl = simulator.url, asks, href } of refusals) {
    await t.test(words, async (t) => {
      const form = tokenForm(page)
      await form.baseUrl.fill(baseUrl)
      await form.group.fill(group)
      await form.token.fill(pasted)
      if (asks) await form.report.getByRole('button', { name: asks }).click()
      await form.report.getByText(words).first().waitFor()
      if (href) t.equal(await form.report.getByRole('link').getAttribute('href'), href)

      await form.connect.click()
      await page.waitForLoadState()
      await tokenForm(page).report.getByText(words).first().waitFor()
      t.equal(await tokenForm(page).token.inputValue(), '', 'the field is empty again')
      t.equal(await tokenForm(page).group.inputValue(), group, 'what is no secret stays')
      t.notOk((await page.content()).includes(pasted))
    })
  }
  simulator.faults.add({
    match: { path: /self$/ },
    times: Number.POSITIVE_INFINITY,
    effect: { kind: 'status', status: 502 },
  })
  const form = tokenForm(page)
  await form.baseUrl.fill(simulator.url)
  await form.token.fill('glpat-FAKE-while-GitLab-is-down')
  await form.report.getByText('GitLab does not answer').waitFor()
  t.same((await broker.get('/v1/connections')).body.items, [])
})

test('an OAuth access token obtained elsewhere is verified and connected', async (t, {
  open,
  link,
  simulator,
  broker,
}) => {
  const issued = simulator.world.issueOAuthToken({
    username: 'tom',
    clientId: 'simulator-client',
    scopes: ['read_user', 'read_repository'],
  })
  const { page } = await open()
  await page.goto(await link())
  await page.getByText('I have an OAuth access token already').click()
  const form = page.locator('form[action$="/connect/oauth-token"]')
  await form.getByLabel('OAuth access token', { exact: true }).fill(issued.accessToken)
  await form.getByText('This token works').waitFor()
  await form.getByLabel('Refresh token (optional)', { exact: true }).fill(issued.refreshToken)
  await form.getByRole('button', { name: 'Connect this token' }).click()
  await page.getByText('You connected GitLab user tom to acme.').waitFor()
  t.match((await broker.get('/v1/connections')).body.items, [{ method: 'oauth', refreshable: true }])
})

test('a link ends: used, expired and unknown ones say so, and connect nothing', async (t, {
  open,
  link,
  token,
  clock,
  simulator,
}) => {
  const used = await link()
  const { page } = await open()
  await page.goto(used)
  const form = tokenForm(page)
  await form.baseUrl.fill(simulator.url)
  await form.token.fill(token('maria', ['read_repository']))
  await form.connect.click()
  await page.getByRole('heading', { name: 'GitLab is connected' }).waitFor()

  const other = (await open()).page
  t.equal((await other.goto(used))?.status(), 410)
  await other.getByText('This link was used').waitFor()
  t.notOk((await other.content()).includes('maria'), 'another browser learns nothing of who it was')

  const late = await link({ expires_in: 60 })
  await other.goto(late)
  await other.getByText('You are connecting GitLab for acme.').waitFor()
  clock.advance(61)
  await other.getByRole('button', { name: /^Connect with/ }).click()
  await other.getByText('This link has expired').first().waitFor()
  t.equal((await other.goto(late))?.status(), 410)
  await other.getByText('This link has expired').waitFor()

  t.equal((await other.goto(`${new URL(used).origin}/connect?session=gcs_FAKE`))?.status(), 410)
  await other.getByText('This link does not work').waitFor()
})

test('a link that allows one method offers no other', async (t, { open, link }) => {
  const { page } = await open()
  await page.goto(await link({ methods: ['oauth'] }))
  t.equal(await page.locator('form[action$="/connect/token"]').count(), 0)
  await page.getByRole('button', { name: /^Connect with/ }).waitFor()
  const other = (await open()).page
  await other.goto(await link({ methods: ['token'] }))
  t.equal(await other.getByRole('button', { name: /^Connect with/ }).count(), 0)
  await tokenForm(other).token.waitFor()
})

test('a platform that waits for the person gets them back with a button', async (t, {
  open,
  link,
  token,
  simulator,
}) => {
  const { page } = await open()
  await page.goto(await link({ return_url: 'https://app.example.com/done?x=1' }))
  const form = tokenForm(page)
  await form.baseUrl.fill(simulator.url)
  await form.token.fill(token('maria', ['read_user', 'read_repository']))
  await form.connect.click()
  const href = await page.getByRole('link', { name: 'Continue to app.example.com' }).getAttribute('href')
  t.match(href, /^https:\/\/app\.example\.com\/done\?x=1&status=connected&connection_id=[0-9a-f-]{36}$/)
})
