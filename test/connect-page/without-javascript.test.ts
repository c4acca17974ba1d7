import t from 'tap'
import { pageTests, signIn, throughGitLab, tokenForm } from './stage.ts'

const test = pageTests(t)
const SCOPES = ['read_user', 'read_api', 'read_repository']

test('everything works with JavaScript switched off', async (t, stage) => {
  const { open, link, token, simulator, broker } = stage
  const { page } = await open({ javaScriptEnabled: false })

  // With a link: refused, denied, connected.
  await page.goto(await link())
  t.equal(
    await page.getByRole('button', { name: 'Show', exact: false }).count(),
    0,
    'no button without effect',
  )
  const form = tokenForm(page)
  await form.baseUrl.fill(simulator.url)
  await form.token.fill(token('maria', ['read_user']))
  await form.connect.click()
  await form.report.getByText('The token lacks read_repository').waitFor()
  t.equal(await form.baseUrl.inputValue(), simulator.url)
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await throughGitLab(page, { user: 'Maria Rossi', choice: 'Deny' })
  await page.getByRole('alert').getByText('Access was not granted').waitFor()
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await page.getByRole('button', { name: 'Authorize' }).click()
  await page.getByText('You connected GitLab user maria to acme.').waitFor()
  await page.getByRole('button', { name: 'Not me: disconnect' }).click()
  await page.getByText('your link still works').waitFor()
  await form.baseUrl.fill(simulator.url)
  await form.token.fill(token('maria', SCOPES))
  await form.connect.click()
  await page.getByText('You connected GitLab user maria to acme.').waitFor()

  // Signed in: verify, replace, disconnect, sign out.
  await signIn(page, broker.url, await broker.createKey('manager', ['acme']))
  const maria = page.getByRole('article', { name: 'Maria Rossi' })
  await maria.getByRole('button', { name: 'Verify' }).click()
  await page.getByText('GitLab confirms Maria Rossi').waitFor()
  await maria.getByRole('link', { name: 'Replace token' }).click()
  await page.getByLabel('New token', { exact: true }).fill(token('maria', SCOPES))
  await page.getByRole('button', { name: 'Replace token' }).click()
  await page.getByText('The token of Maria Rossi was replaced.').waitFor()
  // Another person's token: the page asks, and the token is entered again.
  await maria.getByRole('link', { name: 'Replace token' }).click()
  await page.getByLabel('New token', { exact: true }).fill(token('tom', SCOPES))
  await page.getByRole('button', { name: 'Replace token' }).click()
  await page.getByText('Let GitLab user tom take the place of maria?').waitFor()
  t.equal(
    await page.getByLabel('New token', { exact: true }).inputValue(),
    '',
    'the token does not come back',
  )
  await page.getByLabel('New token', { exact: true }).fill(token('tom', SCOPES))
  await page.getByRole('button', { name: 'Reconnect as tom' }).click()
  await page.getByText('The token of Tom Novak was replaced.').waitFor()
  const tom = page.getByRole('article', { name: 'Tom Novak' })
  await tom.getByRole('link', { name: 'Disconnect' }).click()
  await page.getByRole('button', { name: 'Disconnect' }).click()
  await page.getByText('Disconnected. The token was revoked at GitLab').waitFor()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByText('You are signed out.').waitFor()
})
