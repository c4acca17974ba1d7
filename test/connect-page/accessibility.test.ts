import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { type ConnectStage, findViolations, pageTests, signIn, throughGitLab, tokenForm } from './stage.ts'

const test = pageTests(t)
const SCOPES = ['read_user', 'read_api', 'read_repository']

const WIDE = { width: 1180, height: 800 }
/** A small phone; also what a window of 640 pixels lays out at 200 % zoom. */
const NARROW = { width: 320, height: 640 }

/** Looks at a state in light and in dark, and whether a narrow window shows all of it. */
const look = async (t: Test, page: Page, state: string) => {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    t.same(await findViolations(page), [], `${state}, ${colorScheme}`)
  }
  await page.setViewportSize(NARROW)
  const overflow = await page.evaluate<number>('document.documentElement.scrollWidth - window.innerWidth')
  t.ok(overflow <= 0, `${state} does not scroll sideways`)
  await page.setViewportSize(WIDE)
}

/** One account of every colour. */
const connectSome = async ({ connectToken, token, simulator, broker }: ConnectStage) => {
  const lost = token('maria', SCOPES)
  const id = await connectToken({ organization: 'acme', token: lost })
  simulator.world.revokeToken(lost)
  await broker.post(`/v1/connections/${id}/verify`)
  await connectToken({ organization: 'acme', token: token('tom', SCOPES, '2026-11-09') })
  simulator.world.addUser({ username: 'lena' })
  await connectToken({ organization: 'globex', token: token('lena', [...SCOPES, 'self_rotate']) })
}

test('axe-core finds no violation in any state with a link, in light and dark', async (t, stage) => {
  const { open, link, token, simulator } = stage
  const { page } = await open()
  await page.goto(await link())
  await page.getByText('I have an OAuth access token already').click()
  for (const trouble of await page.locator('details.trouble summary').all()) await trouble.click()
  await look(t, page, 'a link')
  const form = tokenForm(page)
  await form.baseUrl.fill(simulator.url)
  await form.token.fill(token('maria', ['api', 'read_repository'], '2026-11-09'))
  await form.report.getByText('This token works').waitFor()
  await look(t, page, 'a verified token')
  await form.token.fill(token('maria', ['read_user']))
  await form.report.getByText('The token lacks').waitFor()
  await look(t, page, 'a refused token')
  await form.baseUrl.fill('https://gitlab.company.example')
  await form.group.focus()
  await form.report.getByRole('button', { name: 'Ask gitlab.company.example' }).waitFor()
  await look(t, page, 'a question about a server')
  await form.baseUrl.fill(simulator.url)
  await form.group.focus()
  await form.report.getByText('The token lacks').waitFor()
  await form.connect.click()
  await page.locator('.verdict:focus').waitFor()
  await look(t, page, 'a refused form')
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await throughGitLab(page, { user: 'Maria Rossi', choice: 'Deny' })
  await look(t, page, 'a denial')
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await page.getByRole('button', { name: 'Authorize' }).click()
  await page.getByText('You connected GitLab user maria').waitFor()
  await look(t, page, 'the confirmation of the identity')
  await page.goto(await link({ organization: 'globex' }))
  await page.getByRole('button', { name: /^Connect with/ }).click()
  await page.getByRole('heading', { name: 'Connect GitLab user maria to globex?' }).waitFor()
  await look(t, page, 'the question before a second organization')
})

test('axe-core finds no violation in any state of a sign-in, in light and dark', async (t, stage) => {
  const { open, broker } = stage
  await connectSome(stage)
  const { page } = await open()
  await page.goto(`${broker.url}/connect?session=gcs_FAKE`)
  await look(t, page, 'a link that does not work')
  await page.goto(`${broker.url}/`)
  await look(t, page, 'signing in')
  await page.getByLabel('Access key', { exact: true }).fill('FAKE-wrong-key')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('alert').waitFor()
  await look(t, page, 'a refused sign-in')
  await signIn(page, broker.url, await broker.createKey('manager', ['acme', 'globex']))
  await look(t, page, 'accounts of several organizations')
  await page.goto(await stage.link())
  await page.getByRole('heading', { name: 'Open the link for acme?' }).waitFor()
  await look(t, page, 'a link while somebody is signed in')
  await page.goto(`${broker.url}/connect?organization=acme`)
  await look(t, page, 'accounts of one organization')
  for (const [action, words] of [
    ['Replace token', 'Replace the token of'],
    ['Disconnect', 'Disconnect'],
    ['Rotate', 'Rotate the token of'],
  ] as const) {
    await page.goto(`${broker.url}/connect`)
    await page.getByRole('link', { name: action }).first().click()
    await page.getByRole('heading', { name: words }).waitFor()
    await look(t, page, action)
  }
})

test('the keyboard alone connects a token, shows it, and undoes it', async (t, stage) => {
  const { open, link, token, simulator } = stage
  const { page } = await open()
  await page.goto(await link())
  const focused = () => page.locator(':focus')
  /** Presses Tab until the wanted element has the focus; it must be seen to have it. */
  const tabTo = async (name: RegExp) => {
    for (let presses = 0; presses < 40; presses += 1) {
      await page.keyboard.press('Tab')
      const label = await page.evaluate<string>(
        'document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent',
      )
      if (!name.test(label.trim())) continue
      const outline = await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')
      t.equal(outline, 'solid', `${name} shows its focus`)
      return
    }
    t.fail(`Tab never reaches ${name}`)
  }
  await tabTo(/^Skip to the content/)
  await page.keyboard.press('Enter')
  await tabTo(/^Connect with/)
  await tabTo(/^GitLab base URL$/)
  await page.keyboard.type(simulator.url)
  await tabTo(/^Personal access token$/)
  await page.keyboard.type(token('maria', SCOPES))
  await tabTo(/^Show$/)
  await page.keyboard.press('Space')
  t.equal(await focused().getAttribute('type'), 'text', 'the token is shown, and the focus is in it')
  await tokenForm(page).report.getByText('This token works').waitFor()
  await tabTo(/^Group/)
  await tabTo(/^Connect$/)
  await page.keyboard.press('Enter')
  await page.getByText('You connected GitLab user maria to acme.').waitFor()
  t.equal(await focused().getAttribute('aria-labelledby'), 'identity-heading', 'the news has the focus')
  await tabTo(/^Not me: disconnect$/)
  await page.keyboard.press('Enter')
  await page.getByText('Nothing of that account is left here').waitFor()
})

test('the checks find what is wrong', async (t, { open, link }) => {
  const watched = await open()
  const { page } = watched
  await page.goto(await link())
  await page.evaluate(`document.querySelector('main').innerHTML +=
    '<p style="color:#ddd;background:#fff">faint</p><input><img src="http://127.0.0.1:9/elsewhere.png">'`)
  const violations = await findViolations(page)
  for (const rule of ['label', 'image-alt'])
    t.ok(
      violations.some((found) => found.startsWith(`${rule}: `)),
      rule,
    )
  t.ok(
    watched.complaints.some((words) => /style-src/.test(words)),
    'an inline style',
  )
  t.ok(
    watched.complaints.some((words) => /img-src/.test(words)),
    'a picture from elsewhere',
  )
  watched.complaints.length = 0
  watched.strayRequests.length = 0
})
