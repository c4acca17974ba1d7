import t from 'tap'
import { pageTests, signIn } from './stage.ts'

const test = pageTests(t)
const SCOPES = ['read_user', 'read_api', 'read_repository']

test('who signs in reads what an account reaches, searches it and turns pages', async (t, stage) => {
  const { open, broker, simulator, connectToken, token } = stage
  simulator.world.people.addProjects('acme/many', 70)
  await connectToken({ organization: 'acme', token: token('maria', SCOPES) })
  const { page } = await open()
  await signIn(page, broker.url, await broker.createKey('manager', ['acme']))
  await page.getByRole('link', { name: 'Projects' }).click()
  await page.getByText('GitLab has not been asked yet').waitFor()

  await page.getByRole('button', { name: 'Synchronise now' }).click()
  await broker.jobs.syncProjects()
  await page.reload()
  await page.getByText('72 projects, 3 groups').waitFor()
  t.equal(await page.getByRole('row').count(), 51, 'a page, and its heading')
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT, fullPage: true })
  await page.getByRole('link', { name: 'Show more' }).click()
  await page.getByRole('link', { name: 'Back to the start' }).waitFor()
  t.equal(await page.getByRole('row').count(), 23)

  await page.getByLabel('Find a project').fill('web-sh')
  await page.getByRole('button', { name: 'Find' }).click()
  await page.getByRole('link', { name: 'acme/web-shop' }).waitFor()
  t.equal(await page.getByRole('row').count(), 2)
  await page.getByLabel('Find a project').fill('<b>nowhere</b>')
  await page.getByRole('button', { name: 'Find' }).click()
  await page.getByText('No project has <b>nowhere</b> in its path.').waitFor()

  await page.goto(`${broker.url}/connect`)
  const card = await page.getByRole('article').textContent()
  t.match(card, /Not in the last 30 days/, 'the service itself is no user of the account')
})
