import type { Page } from 'playwright-core'
import t from 'tap'
import { type ConnectStage, findViolations, pageTests } from './stage.ts'

const test = pageTests(t)

/** Another browser, at GitLab: signs in, enters the code, and answers. */
const enterAtGitLab = async (page: Page, address: string, code: string, button: 'Authorize' | 'Deny') => {
  await page.goto(address)
  await page.getByRole('button', { name: '(maria)' }).click()
  await page.getByLabel('Code').fill(code.toLowerCase())
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('button', { name: button }).click()
  await page.getByRole('heading', { name: /The device is/ }).waitFor()
}

const begin = async ({ link }: ConnectStage, page: Page): Promise<{ code: string; address: string }> => {
  await page.goto(await link())
  await page.getByRole('button', { name: /with a code$/ }).click()
  const code = ((await page.locator('.device-code').textContent()) ?? '').trim()
  const address = await page.getByRole('link', { name: /^Open 127/ }).getAttribute('href')
  return { code, address: address ?? '' }
}

test('two browsers: the code of one is entered in the other, and the first goes on by itself', async (t, stage) => {
  const { page } = await stage.open()
  const { code, address } = await begin(stage, page)
  t.equal(address, `${stage.simulator.url}/oauth/device`)
  t.equal(await page.getByRole('heading', { level: 1 }).textContent(), 'Connect GitLab to acme with a code')
  t.same(await findViolations(page), [])
  const { page: elsewhere } = await stage.open()
  await enterAtGitLab(elsewhere, address, code, 'Authorize')
  stage.clock.advance(5)
  await page.getByRole('heading', { name: 'GitLab is connected' }).waitFor()
  const { body } = await stage.broker.get('/v1/connections?organization=acme')
  t.match(body.items, [{ user: { username: 'maria' }, method: 'oauth' }])
})

test('without JavaScript the page is looked at again by hand, and tells of a no', async (t, stage) => {
  const { page } = await stage.open({ javaScriptEnabled: false })
  const { code, address } = await begin(stage, page)
  const { page: elsewhere } = await stage.open()
  await enterAtGitLab(elsewhere, address, code, 'Deny')
  t.ok(await page.getByText('Waiting for').isVisible())
  stage.clock.advance(5)
  await page.getByRole('link', { name: 'Look again' }).click()
  await page.getByRole('alert').getByText('Access was not granted').waitFor()
  t.same((await stage.broker.get('/v1/connections?organization=acme')).body.items, [])
})
