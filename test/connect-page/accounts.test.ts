import t from 'tap'
import { ADMIN_KEY } from '../support/broker.ts'
import { pageTests, signIn, throughGitLab, tokenForm } from './stage.ts'

const test = pageTests(t)
const SCOPES = ['read_user', 'read_api', 'read_repository']

test('who signs in sees the accounts of their organizations, and signs out again', async (t, stage) => {
  const { open, broker, connectToken, token } = stage
  await connectToken({ organization: 'acme', token: token('maria', SCOPES), name: 'nightly' })
  await connectToken({ organization: 'globex', token: token('tom', SCOPES) })
  const { page } = await open()
  await signIn(page, broker.url, await broker.createKey('manager', ['acme']))

  t.equal(await page.getByRole('article').count(), 1)
  const card = page.getByRole('article', { name: 'Maria Rossi' })
  const words = ((await card.textContent()) ?? '').replace(/\s+/g, ' ')
  for (const word of [
    'Working',
    'nightly',
    'Personal access token',
    '2 November 2027',
    'Not in the last 30 days',
  ])
    t.ok(words.includes(word), `${word}: ${words}`)
  t.notOk((await page.content()).includes('globex'), 'what is not theirs does not exist')

  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByText('You are signed out.').waitFor()
  await page.goto(`${broker.url}/connect`)
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
})

test('a wrong key, an expired one and the key of a scanner do not sign in', async (t, {
  open,
  broker,
  clock,
}) => {
  const { page } = await open()
  const short = await broker.post('/v1/access-keys', {
    name: 'short',
    role: 'manager',
    organizations: ['acme'],
    expires_at: new Date(clock() + 60_000).toISOString(),
  })
  clock.advance(61)
  for (const [key, words] of [
    ['gtb_mgr_FAKE-not-a-key', 'That key does not work'],
    [short.body.key, 'That key does not work'],
    [await broker.createKey('scanner', ['acme']), 'This key belongs to a scanner'],
  ]) {
    await page.goto(`${broker.url}/connect/sign-in`)
    const field = page.getByLabel('Access key', { exact: true })
    await field.fill(key)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('alert').getByText(words).waitFor()
    t.equal(await field.inputValue(), '')
    t.notOk((await page.content()).includes(key))
  }
})

test('a sign-in ends when it is idle, after twelve hours, and with its key', async (t, {
  open,
  broker,
  clock,
}) => {
  const { page } = await open()
  const isSignedIn = async () => {
    const answer = await page.context().request.get(`${broker.url}/connect`)
    return (await answer.text()).includes('Connected accounts')
  }
  const key = await broker.createKey('manager', ['acme'])
  await signIn(page, broker.url, key)
  clock.advance(29 * 60)
  t.ok(await isSignedIn(), 'used within half an hour')
  clock.advance(29 * 60)
  t.ok(await isSignedIn(), 'and again')
  clock.advance(31 * 60)
  t.notOk(await isSignedIn(), 'idle')

  await signIn(page, broker.url, key)
  for (let minutes = 0; minutes < 12 * 60 - 25; minutes += 25) {
    clock.advance(25 * 60)
    t.ok(await isSignedIn())
  }
  clock.advance(25 * 60)
  t.notOk(await isSignedIn(), 'twelve hours are over')

  await signIn(page, broker.url, key)
  const keys = (await broker.get('/v1/access-keys')).body.items
  const { id } = keys.find(({ role }: { role: string }) => role === 'manager')
  await broker.request('DELETE', `/v1/access-keys/${id}`)
  t.notOk(await isSignedIn(), 'the key was deleted')
})

test('an account that needs a person comes first, says why, and is mended by a new token', async (t, stage) => {
  const { open, broker, simulator, connectToken, token } = stage
  const lost = token('maria', SCOPES)
  const id = await connectToken({ organization: 'acme', token: lost })
  await connectToken({ organization: 'acme', token: token('tom', SCOPES) })
  simulator.world.revokeToken(lost)
  const { page } = await open()
  await signIn(page, broker.url, ADMIN_KEY)
  const card = page.getByRole('article', { name: 'Maria Rossi' })
  await card.getByRole('button', { name: 'Verify' }).click()
  await page.getByRole('alert').getByText('The token was revoked').waitFor()

  await page.goto(`${broker.url}/connect?organization=acme`)
  await page.getByText('One account needs you').waitFor()
  t.match(await page.getByRole('article').first().textContent(), /Maria Rossi/)
  await card.getByText('The token was revoked at GitLab.').waitFor()
  t.match(
    await card.getByRole('link', { name: /^Create a token with/ }).getAttribute('href'),
    `${simulator.url}/-/user_settings/personal_access_tokens?name=Code+scanning&scopes=read_api,read_repository,read_user`,
  )

  await card.getByRole('link', { name: 'Replace token' }).click()
  const field = page.getByLabel('New token', { exact: true })
  await field.fill(token('tom', SCOPES))
  await page.locator('.report').getByText('Tom Novak').waitFor()
  await page.getByRole('button', { name: 'Replace token' }).click()
  await page.getByText('Let GitLab user tom take the place of maria?').waitFor()
  t.equal(await field.inputValue(), '')
  await page.goto(`${broker.url}/connect?organization=acme`)
  await card.getByRole('link', { name: 'Replace token' }).click()
  await field.fill(token('maria', SCOPES))
  await page.locator('.report').getByText('This token works').waitFor()
  await page.getByRole('button', { name: 'Replace token' }).click()
  await page.getByText('The token of Maria Rossi was replaced.').waitFor()
  t.match((await broker.get(`/v1/connections/${id}`)).body, { status: 'active', token_version: 2 })
})

test('disconnecting says what it will do, does it, and revokes at GitLab', async (t, stage) => {
  const { open, broker, simulator, connectToken, token } = stage
  const tokens = { maria: token('maria', SCOPES), tom: token('tom', SCOPES) }
  const id = await connectToken({ organization: 'acme', token: tokens.maria })
  await connectToken({ organization: 'acme', token: tokens.tom })
  const scanner = await broker.createKey('scanner', ['acme'])
  t.equal((await broker.get(`/v1/connections/${id}/credential`, { key: scanner })).status, 200)
  const { page } = await open()
  await signIn(page, broker.url, await broker.createKey('manager', ['acme']))
  const maria = page.getByRole('article', { name: 'Maria Rossi' })
  await maria.getByText('Now, by a scanner').waitFor()

  await maria.getByRole('link', { name: 'Disconnect' }).click()
  await page.getByRole('heading', { name: 'Disconnect Maria Rossi from acme?' }).waitFor()
  await page.getByText('In use right now by a scanner.').waitFor()
  await page.getByRole('link', { name: 'Back', exact: true }).click()
  t.equal((await broker.get(`/v1/connections/${id}`)).status, 200, 'asking does nothing')
  await maria.getByRole('link', { name: 'Disconnect' }).click()
  await page.getByRole('button', { name: 'Disconnect' }).click()
  await page.getByText('Disconnected. The token was revoked at GitLab').waitFor()
  t.equal(simulator.world.tokenState(tokens.maria), 'revoked')
  t.equal(await maria.count(), 0)

  await page.getByRole('article', { name: 'Tom Novak' }).getByRole('link', { name: 'Disconnect' }).click()
  await page.getByLabel('Leave the token valid at GitLab').check()
  await page.getByRole('button', { name: 'Disconnect' }).click()
  await page.getByText('the token is still valid at GitLab').waitFor()
  t.equal(simulator.world.tokenState(tokens.tom), 'active')
  await page.getByText('Nothing is connected to acme yet').waitFor()
})

test('a token is rotated, and an OAuth account is connected and reconnected', async (t, stage) => {
  const { open, broker, simulator, connectToken, token, clock } = stage
  const old = token('tom', [...SCOPES, 'self_rotate'])
  const id = await connectToken({ organization: 'acme', token: old })
  const { page } = await open()
  await signIn(page, broker.url, ADMIN_KEY)
  const tom = page.getByRole('article', { name: 'Tom Novak' })
  await tom.getByRole('link', { name: 'Rotate' }).click()
  await page.getByRole('button', { name: 'Rotate' }).click()
  await page.getByText('The token of Tom Novak was rotated').waitFor()
  t.equal(simulator.world.tokenState(old), 'revoked')
  t.match((await broker.get(`/v1/connections/${id}`)).body, { status: 'active', token_version: 2 })

  // A key for all organizations names one by hand, before anything is connected to it.
  await page.getByLabel('Organization').last().fill('globex')
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('heading', { name: 'Connect an account to globex' }).waitFor()
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await throughGitLab(page, { user: 'Maria Rossi' })
  await page.getByText('You connected GitLab user maria to globex.').waitFor()
  const maria = page.getByRole('article', { name: 'Maria Rossi' })
  await maria.getByText('in 2 hours, renewed automatically').waitFor()

  clock.advance(600)
  await page.goto(`${broker.url}/connect`)
  await maria.getByRole('button', { name: 'Reconnect' }).click()
  await page.getByText('GitLab user maria was connected to globex already').waitFor()
  t.match((await broker.get('/v1/connections?organization=globex')).body.items, [{ token_version: 2 }])
})

test('a manager connects a token only to organizations of their key', async (t, stage) => {
  const { open, broker, simulator, token } = stage
  const { page } = await open()
  await signIn(page, broker.url, await broker.createKey('manager', ['acme', 'globex']))
  await page.getByLabel('Organization').first().selectOption('globex')
  await page.getByRole('button', { name: 'Switch' }).click()
  const form = tokenForm(page)
  await form.baseUrl.fill(simulator.url)
  await form.token.fill(token('tom', SCOPES))
  await form.connect.click()
  await page.getByText('You connected GitLab user tom to globex.').waitFor()

  await page.goto(`${broker.url}/connect?organization=initech`)
  await page.getByRole('alert').getByText('That is not one of your organizations').waitFor()
  await page.goto(`${broker.url}/connect?organization=acme`)
  await page.evaluate(`document.querySelector('form[action$="/connect/token"]')
    .insertAdjacentHTML('beforeend', '<input type="hidden" name="organization" value="initech">')`)
  await form.baseUrl.fill(simulator.url)
  await form.token.fill(token('tom', SCOPES))
  await form.connect.click()
  await page.getByRole('alert').getByText('This page is out of date').waitFor()
  t.same((await broker.get('/v1/connections?organization=initech')).body.items, [])
})
