import type { Page } from 'playwright-core'
import t from 'tap'
import { type ConnectStage, findViolations, pageTests, signIn } from './stage.ts'

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

/** GitLab may think for as long as the test does. */
const PATIENT = { gitlab: { timeoutMs: 120_000 } }

/** An account with 170 projects, which GitLab lists a hundred at a time. GitLab lists the groups when told to. */
const readSlowly = async (stage: ConnectStage, options: object = {}) => {
  const { open, broker, simulator, connectToken, token } = stage
  simulator.world.people.addProjects('acme/many', 168)
  const id = await connectToken({ organization: 'acme', token: token('maria', SCOPES) })
  const answered = Promise.withResolvers<void>()
  simulator.faults.add({
    match: { path: '/api/v4/groups' },
    effect: { kind: 'hold', until: answered.promise },
  })
  const { page } = await open(options)
  await signIn(page, broker.url, await broker.createKey('manager', ['acme']))
  const address = `${broker.url}/connect/connections/${id}/projects`
  await page.goto(address)
  await page.getByRole('button', { name: 'Synchronise now' }).click()
  return { page, answer: answered.resolve, id, address }
}

const shotOf = async (page: Page, name: string) => {
  const { SCREENSHOTS } = process.env
  if (!SCREENSHOTS) return
  for (const [look, colorScheme, width] of [
    ['light', 'light', 1180],
    ['dark', 'dark', 1180],
    ['phone', 'light', 375],
  ] as const) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width, height: 800 })
    await page.screenshot({ path: `${SCREENSHOTS}/${name}-${look}.png` })
  }
  await page.emulateMedia({ colorScheme: 'light' })
}

test(
  'while a reading is under way the page shows by itself how far it is',
  async (t, stage) => {
    const { page, answer } = await readSlowly(stage)
    await page.getByText(/GitLab is being asked: 170 projects so far/).waitFor()
    await page.getByRole('link', { name: 'acme/web-shop' }).waitFor()
    t.equal(await page.getByText('170 projects, ').count(), 0, 'not before the end')
    t.ok(await page.getByRole('button', { name: 'Synchronise now' }).isDisabled())
    t.same(await findViolations(page), [])
    await shotOf(page, 'running')
    let loads = 0
    page.on('load', () => {
      loads += 1
    })
    const field = page.getByLabel('Find a project')
    await field.pressSequentially('web')
    answer()
    await page.getByText('170 projects, 3 groups').waitFor()
    t.equal(await field.inputValue(), 'web', 'what is being typed stays')
    t.equal(await page.evaluate('document.activeElement.id'), 'search')
    await shotOf(page, 'done')
    t.same(await findViolations(page), [])
    t.equal(await page.getByText('GitLab is being asked').count(), 0)
    t.ok(await page.getByRole('button', { name: 'Synchronise now' }).isEnabled())
    t.equal(await page.locator('[hx-trigger]').count(), 0, 'and asks no more')
    t.equal(loads, 0, 'the page was never loaded anew')
  },
  PATIENT,
)

test(
  'a person who is in the list stays there, and watching prolongs no sign-in',
  async (t, stage) => {
    const { page, answer, address } = await readSlowly(stage)
    const link = page.getByRole('link', { name: 'acme/web-shop' })
    await link.focus()
    const cookie = async () =>
      (await page.context().cookies()).find(({ name }) => name.includes('sign-in'))?.value
    const before = await cookie()
    stage.clock.advance(61)
    for (let polls = 0; polls < 2; polls += 1)
      await page.waitForResponse((response) => response.url().startsWith(address))
    t.equal(await page.evaluate('document.activeElement.textContent'), 'acme/web-shop')
    t.equal(await cookie(), before)
    // Who is signed out meanwhile sees so.
    await page.context().clearCookies()
    await page.getByRole('alert').waitFor()
    t.equal(await page.locator('[hx-trigger]').count(), 0)
    answer()
  },
  PATIENT,
)

test(
  'without JavaScript a link shows how far a reading is',
  async (t, stage) => {
    const { page, answer } = await readSlowly(stage, { javaScriptEnabled: false })
    await page.getByText('GitLab is being asked').waitFor()
    answer()
    const again = page.getByRole('link', { name: 'Look again' })
    for (let tries = 0; tries < 50 && (await again.count()) > 0; tries += 1) await again.click()
    t.ok(await page.getByText('170 projects, 3 groups').isVisible())
  },
  PATIENT,
)

test(
  'the page says that the reading is switched off',
  async (t, { open, broker, connectToken, token }) => {
    const id = await connectToken({ organization: 'acme', token: token('maria', SCOPES) })
    const { page } = await open()
    await signIn(page, broker.url, await broker.createKey('manager', ['acme']))
    await page.goto(`${broker.url}/connect/connections/${id}/projects`)
    await page.getByText('has switched off the reading of projects').waitFor()
    t.equal(await page.getByRole('button', { name: 'Synchronise now' }).count(), 0)
    t.equal(await page.locator('[hx-trigger]').count(), 0)
    t.same(await findViolations(page), [])
    await shotOf(page, 'off')
  },
  { config: { syncProjects: 'off' } },
)
