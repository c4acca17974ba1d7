import t from 'tap'
import { contentSecurityPolicy } from '../../src/connect-page/security-policy.ts'

const formActionOf = (formsLeadTo?: string[]): string | undefined =>
  contentSecurityPolicy(formsLeadTo)
    .split('; ')
    .find((rule) => rule.startsWith('form-action'))

t.test('forms lead to ourselves, and further only from a page with a form that has to', async (t) => {
  t.equal(formActionOf(), "form-action 'self'")
  t.equal(formActionOf([]), "form-action 'self'")
  t.equal(formActionOf(['https://gitlab.com']), "form-action 'self' https:")
  t.equal(formActionOf(['https://gitlab.com', 'http://127.0.0.1:8929']), "form-action 'self' https: http:")
})

t.test('whatever a form leads to, scripts, styles and frames stay our own', async (t) => {
  const policy = contentSecurityPolicy(['https://gitlab.com', 'http://127.0.0.1:8929'])
  for (const rule of [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ])
    t.ok(policy.split('; ').includes(rule), rule)
  t.notMatch(policy, /unsafe|\*/)
})
