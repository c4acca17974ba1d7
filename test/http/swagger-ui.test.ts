import type { Page } from 'playwright-core'
import t from 'tap'
import { pageTests } from '../connect-page/stage.ts'
import { ADMIN_KEY } from '../support/broker.ts'

const test = pageTests(t)
/** The bundle of Swagger UI is large, and slow on a busy machine. */
const PATIENCE_MS = 30_000

/** Opens an operation, fills it in and executes it. @returns status and body of the answer that Swagger UI shows. */
const execute = async (page: Page, operationId: string, parameters: Record<string, string> = {}) => {
  const block = page.locator(`.opblock[id$="-${operationId}"]`)
  await block.locator('.opblock-summary-control').click()
  for (const [name, value] of Object.entries(parameters)) {
    await block.locator(`tr[data-param-name="${name}"] input`).fill(value)
  }
  await block.getByRole('button', { name: 'Execute' }).click()
  const answer = block.locator('.live-responses-table')
  const status = await answer.locator('.response-col_status').nth(1).textContent()
  const text = await answer.locator('.highlight-code code').first().textContent()
  return { status: Number.parseInt(status ?? '', 10), body: JSON.parse(text ?? '') }
}

test('an admin works in Swagger UI: authorises, registers an app and a key, looks up a credential', async (t, stage) => {
  const { open, broker, connectToken, token } = stage
  const id = await connectToken({
    organization: 'acme',
    token: token('maria', ['read_api', 'read_repository']),
  })
  const { page } = await open()
  page.setDefaultTimeout(PATIENCE_MS)
  const violations: string[] = []
  page.on('console', (message) => {
    if (/Content Security Policy|Refused to/i.test(message.text())) violations.push(message.text())
  })
  page.on('pageerror', (error) => void violations.push(error.message))
  await page.goto(`${broker.url}/docs`)
  await page.getByRole('button', { name: 'Authorize' }).first().click()
  await page.locator('.auth-container input').fill(ADMIN_KEY)
  await page.locator('.auth-container').getByRole('button', { name: 'Apply credentials' }).click()
  await page.locator('.auth-container .btn-done').click()
  await page.locator('.authorize.locked').waitFor()

  const groups = await page
    .locator('.opblock-tag-section h3')
    .evaluateAll((headings) => headings.map((heading) => heading.getAttribute('data-tag')))
  t.same(groups.slice(0, 5), ['Instances', 'OAuth apps', 'Access keys', 'Connections', 'Credentials'])

  const app = await execute(page, 'createOAuthApp')
  t.match(app, {
    status: 201,
    body: { slug: 'gitlab-com', callback_url: `${broker.url}/oauth/gitlab-com/callback` },
  })
  const key = await execute(page, 'createAccessKey')
  t.equal(key.status, 201)
  t.match(key.body.key, /^gtb_scn_/)
  const credential = await execute(page, 'getCredential', { id })
  t.match(credential, { status: 200, body: { connection_id: id, token_kind: 'personal_access_token' } })

  t.same(violations, [], 'all of it within the content security policy')
  const kept = await page.evaluate<string>(
    'JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])',
  )
  t.notOk(kept.includes(ADMIN_KEY), 'the browser keeps no key')
  await page.reload()
  await page.locator('.authorize.unlocked').waitFor()
})

/** Their errors are those of OAuth (RFC 6749, section 5.2), and lines for Git. */
const OTHER_ERRORS = new Set([
  'exchangeToken',
  'getGitCredential',
  'storeGitCredential',
  'eraseGitCredential',
])

test('every operation documents its problems, and has an example where it takes a body', async (t, {
  broker,
}) => {
  const { paths } = broker.app.swagger() as unknown as {
    paths: Record<string, Record<string, Operation>>
  }
  type Operation = {
    operationId: string
    responses: Record<string, { content?: object }>
    requestBody?: { content: Record<string, { example?: unknown }> }
  }
  const operations = Object.values(paths).flatMap((path) => Object.values(path))
  t.ok(operations.length > 30)
  for (const { operationId, responses, requestBody } of operations) {
    const documented = Object.values(responses).filter(
      ({ content }) => content && 'application/problem+json' in content,
    )
    if (OTHER_ERRORS.has(operationId))
      for (const status of ['400', '401', '503'])
        t.ok(responses[status]?.content, `${operationId}: ${status}`)
    else t.ok(documented.length > 0, `${operationId} documents its problems`)
    const body = requestBody?.content['application/json']
    if (body) t.ok(body.example, `${operationId} has an example`)
  }
})
