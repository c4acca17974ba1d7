import t from 'tap'
import { pageTests, tokenForm } from './stage.ts'

const test = pageTests(t)
const SCOPES = ['read_user', 'read_api', 'read_repository']

test('the address of a group finds its GitLab, and the group is offered', async (t, stage) => {
  const { open, link, token, simulator, broker } = stage
  const { page } = await open()
  await page.goto(await link())
  const form = tokenForm(page)
  await form.baseUrl.fill(`${simulator.url}/groups/acme/platform/-/settings/access_tokens`)
  await form.token.fill(token('maria', SCOPES))
  await form.report.getByText('This token works').waitFor()
  await form.report.getByText('The address names acme/platform').waitFor()
  await form.report.getByRole('button', { name: 'Limit it to acme/platform' }).click()
  await form.report.getByText('The token reaches acme/platform').waitFor()
  t.equal(await form.group.inputValue(), 'acme/platform')
  await form.connect.click()
  await page.waitForURL(/status=connected/)
  const { items } = (await broker.get('/v1/connections')).body
  t.match(items[0], { base_url: simulator.url, group: 'acme/platform' })
})

test('a group is taken as its address, and one of another GitLab is refused', async (t, stage) => {
  const { open, link, token, simulator } = stage
  const { page } = await open()
  await page.goto(await link())
  const form = tokenForm(page)
  await form.baseUrl.fill(`${simulator.url}/users/sign_in`)
  await form.token.fill(token('maria', SCOPES))
  await form.group.fill('https://gitlab.com/acme/platform')
  await form.report.getByText('That is not a group or project').waitFor()
  await form.group.fill(`${simulator.url}/groups/acme/platform`)
  await form.report.getByText('The token reaches acme/platform').waitFor()
  await form.connect.click()
  await page.waitForURL(/status=connected/)
  t.pass('connected')
})

test('an address that nearly names a registered GitLab gets a button that does', async (t, stage) => {
  const { open, link, token, simulator } = stage
  const { page } = await open()
  await page.goto(await link())
  const form = tokenForm(page)
  const wrong = simulator.url.replace('http:', 'https:')
  await form.baseUrl.fill(wrong)
  await form.token.fill(token('maria', SCOPES))
  await form.report.getByRole('button', { name: /^Ask / }).click()
  await form.report.getByText(`Did you mean ${simulator.url}?`).waitFor()
  await form.report.getByRole('button', { name: `Use ${simulator.url}` }).click()
  await form.report.getByText('This token works').waitFor()
  t.equal(await form.baseUrl.inputValue(), simulator.url)
})
