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

test('the new token of a group revives the connection of the old one, and nobody is asked', async (t, stage) => {
  const make = () =>
    stage.simulator.world.createAccessToken({ kind: 'group', path: 'acme/platform', scopes: SCANNER_SCOPES })
      .token
  const old = make()
  const id = await stage.connectToken({ organization: 'acme', token: old })
  stage.simulator.world.revokeToken(old)
  await stage.broker.post(`/v1/connections/${id}/verify`)
  const before = (await stage.broker.get(`/v1/connections/${id}`)).body
  const { page } = await stage.open()
  await page.goto(await stage.link({ organization: 'acme', connection_id: id }))
  const form = tokenForm(page)
  await form.token.fill(make())
  await form.connect.click()
  await page.waitForURL(/status=connected/)
  const after = (await stage.broker.get(`/v1/connections/${id}`)).body
  t.match(before, { status: 'revoked', token_kind: 'group_access_token' })
  t.match(after, { status: 'active', group: 'acme/platform', token_version: 2 })
  t.not(after.user.id, before.user.id, 'a bot of its own')
})
