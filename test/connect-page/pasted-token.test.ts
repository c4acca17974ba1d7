import t from 'tap'
import { SCANNER_SCOPES } from '../support/connect.ts'
import { pageTests, tokenForm } from './stage.ts'

const test = pageTests(t)

test('a token that brings along quotes, a line end and a variable is connected', async (t, {
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
  const pasted = token('maria', SCANNER_SCOPES)
  // As the clipboard gives it: a field of one line drops the line end, and keeps the rest.
  await form.token.focus()
  await page.keyboard.insertText(`export GITLAB_TOKEN=“${pasted}”\n`)
  await form.report.getByText('This token works').first().waitFor()
  await form.connect.click()
  await page.getByText(/You connected GitLab user/).waitFor()
  const { body } = await broker.get('/v1/connections')
  t.equal(body.items.length, 1)
  const { body: credential } = await broker.get(`/v1/connections/${body.items[0].id}/credential`)
  t.equal(credential.token, pasted, 'what is stored is the token alone')
})

test('what is no token of the API is named below the field, before and after Connect', async (t, {
  open,
  link,
  broker,
  simulator,
}) => {
  for (const [pasted, words] of [
    ['"glpat-FAKE-0123456789abcd', 'Remove the quotes.'],
    ['<your-access-token>', 'That is a placeholder'],
    ['Code scanning token', 'There are spaces in the token'],
    ['gldt-FAKE-0123456789abcdef', 'This is a deploy token'],
    ['glrt-FAKE-0123456789abcdef', 'This is a runner token'],
  ] as const) {
    const { page } = await open()
    await page.goto(await link())
    const form = tokenForm(page)
    await form.baseUrl.fill(simulator.url)
    await form.token.fill(pasted)
    await form.report.getByText(words).first().waitFor()
    await form.connect.click()
    await page.waitForLoadState()
    await tokenForm(page).report.getByText(words).first().waitFor()
    t.notOk((await page.content()).includes(pasted), words)
  }
  t.same((await broker.get('/v1/connections')).body.items, [])
})

test('a fine-grained token asks for a place, and is connected for it', async (t, {
  open,
  link,
  broker,
  simulator,
}) => {
  simulator.world.granular.tellsScopes = false
  const { token } = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: ['granular'],
    granular: [{ access: 'selected_memberships', path: 'acme/web-shop', permissions: ['download_code'] }],
  })
  const { page } = await open()
  await page.goto(await link())
  const form = tokenForm(page)
  await form.baseUrl.fill(simulator.url)
  await form.token.fill(token)
  await form.report.getByText('Name a private project').first().waitFor()
  await form.group.fill('acme/web-shop')
  await form.report.getByText('This token works').first().waitFor()
  const report = ((await form.report.textContent()) ?? '').replace(/\s+/g, ' ')
  t.match(report, /Fine-grained personal access token/)
  t.match(report, /The token reaches acme\/web-shop/)
  await form.connect.click()
  await page
    .getByText(/You connected/)
    .first()
    .waitFor()
  const { body } = await broker.get('/v1/connections')
  t.match(body.items, [{ scopes: ['granular'], group: 'acme/web-shop', status: 'active' }])
})
