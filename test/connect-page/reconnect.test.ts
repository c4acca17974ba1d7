import t from 'tap'
import { SCANNER_SCOPES } from '../support/connect.ts'
import { findViolations, pageTests, throughGitLab, tokenForm } from './stage.ts'

const test = pageTests(t)

test('another person reconnects an account in place, by OAuth, after a yes', async (t, stage) => {
  const id = await stage.connectToken({ organization: 'acme', token: stage.token('maria', SCANNER_SCOPES) })
  const { page } = await stage.open()
  await page.goto(await stage.link({ organization: 'acme', connection_id: id }))
  await page.getByText('You are reconnecting the GitLab account of maria for acme.').waitFor()
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await page.getByRole('button', { name: 'Tom Novak' }).click()
  await page.getByRole('button', { name: 'Authorize', exact: true }).click()
  await page.getByRole('heading', { name: 'Let GitLab user tom take the place of maria?' }).waitFor()
  t.same(await findViolations(page), [])
  await page.getByRole('button', { name: 'Reconnect as tom' }).click()
  await page.waitForURL(/status=connected/)
  t.match((await stage.broker.get(`/v1/connections/${id}`)).body, {
    user: { username: 'tom' },
    token_version: 2,
  })
})

test('another person reconnects with a token, after a yes below the field', async (t, stage) => {
  const id = await stage.connectToken({ organization: 'acme', token: stage.token('maria', SCANNER_SCOPES) })
  const { page } = await stage.open()
  await page.goto(await stage.link({ organization: 'acme', connection_id: id }))
  const form = tokenForm(page)
  await form.token.fill(stage.token('tom', [...SCANNER_SCOPES, 'read_user']))
  await page.getByText('Let GitLab user tom take the place of maria?').waitFor()
  t.same(await findViolations(page), [])
  await page.getByRole('button', { name: 'Reconnect as tom' }).click()
  await page.waitForURL(/status=connected/)
  t.match((await stage.broker.get(`/v1/connections/${id}`)).body, {
    user: { username: 'tom' },
    token_version: 2,
  })
})

test('the same person is not asked', async (t, stage) => {
  const id = await stage.connectToken({ organization: 'acme', token: stage.token('maria', SCANNER_SCOPES) })
  const { page } = await stage.open()
  await page.goto(await stage.link({ organization: 'acme', connection_id: id }))
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await throughGitLab(page, { user: 'Maria Rossi' })
  t.match(page.url(), `connection_id=${id}`)
})
