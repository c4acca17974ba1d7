import t from 'tap'
import {
  mayAskAt,
  mayAskFor,
  mayNameConnections,
  mayUsePage,
  type Principal,
  requireOneOrganization,
} from '../../src/callers/principal.ts'
import { Problem } from '../../src/errors/problem.ts'
import { canonicalUrlPrefix, parseResourceUrl, readingsAt } from '../../src/gitlab/repository-url.ts'
import { principalLike } from '../support/principal.ts'

const caller = (changes: Partial<Principal>) => principalLike({ id: 'x', ...changes })

t.test(
  'a lookup is about one organization: the one that is named, or the only one of the caller',
  async (t) => {
    const table: [own: string[], named: string | undefined, answer: string, listed?: string[]][] = [
      [['acme'], undefined, 'acme'],
      [['acme'], 'acme', 'acme'],
      [['acme'], 'globex', 'not_found'],
      [['acme', 'globex'], undefined, 'organization_required', ['acme', 'globex']],
      [['acme', 'globex'], 'globex', 'globex'],
      [['*'], undefined, 'organization_required'],
      [['*', 'acme'], undefined, 'organization_required'],
      [['*'], 'initech', 'initech'],
      [[], undefined, 'organization_required', []],
    ]
    for (const [organizations, named, answer, listed] of table) {
      const what = `${organizations} asks for ${named}`
      try {
        t.equal(requireOneOrganization(caller({ organizations }), named), answer, what)
      } catch (error) {
        t.ok(error instanceof Problem)
        const { code, extras } = error as Problem
        t.same({ code, listed: extras.members?.organizations }, { code: answer, listed }, what)
      }
    }
  },
)

t.test('a URL prefix covers what lies at or below it, on its server', async (t) => {
  const PREFIX = 'https://git.example.com:8443/GitLab/Acme/'
  const prefix = canonicalUrlPrefix(PREFIX)
  t.equal(prefix, 'https://git.example.com:8443/gitlab/acme')
  const limited = caller({ role: 'scanner', restrictions: { urlPrefixes: [prefix!], readOnly: false } })
  const table: [url: string, within: boolean][] = [
    ['https://git.example.com:8443/gitlab/acme', true],
    ['https://git.example.com:8443/gitlab/ACME/web-shop.git', true],
    ['https://git.example.com:8443/gitlab//acme/web-shop/-/tree/main?x=1#y', true],
    ['https://git.example.com:8443/gitlab/%61cme/x', true],
    ['https://somebody:pw@git.example.com:8443/gitlab/acme/x', true],
    ['git@git.example.com:gitlab/acme/x.git', true],
    ['ssh://git@git.example.com:2222/gitlab/acme/x.git', true],
    ['https://git.example.com:8443/gitlab/acme-2/x', false],
    ['https://git.example.com:8443/gitlab', false],
    ['https://git.example.com:8443/acme/x', false],
    ['https://git.example.com:8443/x/gitlab/acme', false],
    ['https://git.example.com/gitlab/acme/x', false],
    ['http://git.example.com:8443/gitlab/acme/x', false],
    ['https://git.example.com.evil.example:8443/gitlab/acme/x', false],
    ['https://git.example.com:8443@evil.example/gitlab/acme/x', false],
    ['git@evil.example:gitlab/acme/x.git', false],
    ['git@git.example.com:gitlab/acme-2/x.git', false],
  ]
  for (const [url, within] of table) {
    const resource = parseResourceUrl(url)!
    if (!resource.anyPort) t.equal(mayAskFor(limited, resource), within, url)
    const here = readingsAt(resource, [{ base_url: 'https://git.example.com:8443', ssh_hosts: [] }])
    t.equal(
      here.some((reading) => mayAskAt(limited, reading)),
      within,
      url,
    )
  }
  t.equal(mayAskFor(caller({}), parseResourceUrl('https://gitlab.com/x')!), true, 'no prefix is no limit')

  const ssh = parseResourceUrl('git@git.example.com:gitlab/acme/x.git')!
  for (const [instance, within] of [
    ['https://git.example.com:8443/gitlab', true],
    ['https://git.example.com:8443', true],
    ['https://git.example.com', false],
    ['http://git.example.com:8443', false],
  ] as const)
    t.equal(
      readingsAt(ssh, [{ base_url: instance, ssh_hosts: [] }]).some((reading) => mayAskAt(limited, reading)),
      within,
      instance,
    )
  t.equal(mayNameConnections(limited), false)
  t.equal(mayNameConnections(caller({})), true)
})

t.test('what is no prefix is none', async (t) => {
  for (const text of [
    '',
    'gitlab.com',
    'ssh://gitlab.com/a',
    'https://',
    'https://x/%zz',
    'https://x/a*',
    'https://x?y',
  ])
    t.equal(canonicalUrlPrefix(text), undefined, text)
  // A page of the instance is not the whole instance.
  for (const page of ['users/sign_in', 'api/v4/projects/12', '-/profile', 'explore'])
    t.equal(canonicalUrlPrefix(`https://gitlab.com/${page}`), undefined, page)
  t.equal(canonicalUrlPrefix('https://gitlab.com/groups/Acme'), 'https://gitlab.com/acme')
  t.equal(canonicalUrlPrefix('HTTPS://GitLab.com'), 'https://gitlab.com')
  t.equal(canonicalUrlPrefix('https://gitlab.com:443/a.git'), 'https://gitlab.com/a')
})

t.test('the page is for keys of managers and admins that may change something', async (t) => {
  t.equal(mayUsePage(caller({})), true)
  t.equal(mayUsePage(caller({ role: 'manager' })), true)
  t.equal(mayUsePage(caller({ role: 'scanner' })), false)
  t.equal(mayUsePage(caller({ restrictions: { readOnly: true } })), false)
  t.equal(mayUsePage(caller({ subject: 'a workload' })), false)
})
