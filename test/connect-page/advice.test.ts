import t from 'tap'
import { adviceFor, adviceForProblem, newTokenLink } from '../../src/connect-page/advice.ts'
import { texts } from '../../src/connect-page/texts.en.ts'
import { CATALOGUE, type ProblemCode } from '../../src/errors/catalogue.ts'
import { invalidField, Problem } from '../../src/errors/problem.ts'

t.test('the link for a new token leads to their instance, with the scopes filled in', async (t) => {
  const cases: [baseUrl: string, missing: string[], href: string | undefined][] = [
    [
      'https://gitlab.com',
      ['read_repository'],
      'https://gitlab.com/-/user_settings/personal_access_tokens?name=Code+scanning&scopes=read_api,read_repository,read_user',
    ],
    [
      'HTTPS://Git.Example.com:443/gitlab/api/v4/',
      ['self_rotate'],
      'https://git.example.com/gitlab/-/user_settings/personal_access_tokens?name=Code+scanning&scopes=read_api,read_repository,read_user,self_rotate',
    ],
    ['javascript:alert(1)', [], undefined],
    ['data:text/html,x', [], undefined],
    ['https://user:secret@git.example.com', [], undefined],
    ['ftp://git.example.com', [], undefined],
  ]
  for (const [baseUrl, missing, href] of cases)
    t.equal(newTokenLink(baseUrl, missing, texts)?.href, href, baseUrl)
})

t.test('no advice links to an address that is no http(s) URL', async (t) => {
  for (const code of Object.keys(texts.advice))
    for (const baseUrl of ['javascript:alert(1)//', 'data:text/html,x', '//evil.example.com@', ''])
      t.match(adviceFor(code, { baseUrl }, texts).link?.href ?? 'https:', /^https?:/, `${code} ${baseUrl}`)
})

t.test('every problem has a title, and every advice says what to do', async (t) => {
  for (const code of Object.keys(CATALOGUE) as ProblemCode[]) {
    const { title, explanation } = adviceForProblem(new Problem(code, 'Some detail.'), {}, texts)
    t.ok(title && explanation, code)
  }
  const facts = { instance: 'gitlab.com', missing: 'read_api', group: 'acme' }
  for (const [code, advice] of Object.entries(texts.advice)) {
    const { title, explanation, remedy } = advice?.(facts) ?? {}
    t.ok(title && explanation && remedy, code)
  }
})

/** Fields of the forms whose faults have a text of their own. */
const FIELD_ADVICE = [
  'invalid_base_url',
  'invalid_named_server',
  'invalid_settled_server',
  'invalid_token',
  'invalid_oauth_app',
  'invalid_group',
]

t.test('every advice belongs to a problem that exists, or to a field of a form', async (t) => {
  for (const code of Object.keys(texts.advice))
    t.ok(FIELD_ADVICE.includes(code) || Object.hasOwn(CATALOGUE, code) || isConnectionFailure(code), code)
})

/** What a connection may be marked with that no request is answered with. */
const isConnectionFailure = (code: string) => Object.hasOwn(texts.reasons, code)

t.test('a problem is explained by its field, by the scopes that it names, or by its own words', async (t) => {
  const titleOf = (problem: Problem) => adviceForProblem(problem, {}, texts).title
  t.equal(titleOf(invalidField('base_url', 'is wrong')), 'That is not the address of a server')
  t.equal(
    titleOf(new Problem('missing_scopes', '', { members: { missing_scopes: ['read_api', 'read_user'] } })),
    'The token lacks read_api, read_user',
  )
  const unknown = adviceForProblem(new Problem('instance_in_use', 'Two connections use it.'), {}, texts)
  t.match(unknown, { title: 'The instance is still in use', explanation: 'Two connections use it.' })
})
