import fc from 'fast-check'
import t from 'tap'
import {
  coveringPaths,
  nearReadings,
  parseResourceUrl,
  type Reading,
  readingsAt,
} from '../../../src/gitlab/repository-url.ts'
import { INSTANCE_PAGES, LIKELY_PAGES, PROJECT_PAGES } from '../../../src/gitlab/urls/reserved-names.ts'
import { DOCUMENTED, REGISTERED } from './documented-urls.ts'
import { ANOTHER_PLACE, ELSEWHERE, REFUSED } from './look-alikes.ts'

const PROJECT = 'acme/web-shop'
const URLS_AT_LEAST = 400
const LOOK_ALIKES_AT_LEAST = 100
const LONGEST_URL = 2048

const readingsOf = (text: string, instances = REGISTERED): Reading[] => {
  const resource = parseResourceUrl(text)
  return resource ? readingsAt(resource, instances) : []
}

t.test('every documented form of a URL leads to the project or group that GitLab takes', async (t) => {
  let urls = 0
  for (const { source, baseUrl, path, uncutPath, urls: texts } of DOCUMENTED)
    for (const text of texts) {
      urls += 1
      const expected = { baseUrl, path, ...(uncutPath === undefined ? {} : { uncutPath }) }
      t.same(readingsOf(text)[0], expected, `${source}: ${text}`)
    }
  t.ok(urls >= URLS_AT_LEAST, `${urls} URLs`)
})

t.test('what only resembles such a URL leads nowhere, or elsewhere', async (t) => {
  for (const text of ELSEWHERE) t.same(readingsOf(text), [], text)
  for (const text of ANOTHER_PLACE) {
    const covering = readingsOf(text).flatMap(coveringPaths)
    t.notOk(covering.includes(PROJECT), text)
  }
  for (const text of REFUSED) t.equal(parseResourceUrl(text), undefined, text)
  t.ok(ELSEWHERE.length + ANOTHER_PLACE.length >= LOOK_ALIKES_AT_LEAST)
})

const NAME = fc
  .stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,12}[a-zA-Z0-9_]$/)
  .filter((name) => !/\.(git|atom|wiki|design)$/i.test(name))
const FREE_NAME = NAME.filter((name) => {
  const lower = name.toLowerCase()
  return (
    !INSTANCE_PAGES.has(lower) &&
    !PROJECT_PAGES.has(lower) &&
    !LIKELY_PAGES.has(lower) &&
    !/^v\d+$/.test(name)
  )
})
/** `ssh://host:22/project` has a port: a group of digits alone has to be written in another way. */
const PLACE = fc
  .array(FREE_NAME, { minLength: 2, maxLength: 5 })
  .filter(([first = '']) => !/^\d+$/.test(first))
  .map((names) => names.join('/'))
const LABEL = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/)
const HOST = fc.array(LABEL, { minLength: 2, maxLength: 4 }).map((labels) => labels.join('.'))
const OWN_PATH = fc.constantFrom('', '/gitlab', '/dev/git')
const instanceAt = (host: string, own: string) => ({ base_url: `https://${host}${own}`, ssh_hosts: [] })

/** How a tool writes the URL of a repository, and what it puts around or behind. */
const FORMS: ((host: string, own: string, path: string) => string)[] = [
  (host, own, path) => `https://${host}${own}/${path}`,
  (host, own, path) => `https://${host}${own}/${path}.git`,
  (host, own, path) => `https://FAKE:word@${host.toUpperCase()}:443${own}/${path}/`,
  (host, _, path) => `git@${host}:${path}.git`,
  (host, _, path) => `ssh://git@${host}:2222/${path}.git`,
  (host, _, path) => `git+ssh://git@${host}:${path}.git#semver:^1`,
  (host, own, path) => `git::https://${host}${own}/${path}.git//modules/x?ref=v1`,
  (host, own, path) => `git+https://${host}${own}/${path}@v1.0#egg=x`,
  (host, _, path) => `scm:git:git@${host}:${path}.git`,
  (host, own, path) => `https://${host}${own}/${path}/-/merge_requests/1`,
  (host, own, path) => `https://${host}${own}/${path}/tree/main/tree`,
  (host, own, path) => `https://${host}${own}/${path}.git/info/lfs`,
  (host, own, path) => `https://${host}${own}/api/v4/projects/${encodeURIComponent(path)}/issues`,
  (host, own, path) => `https://${host}${own}/groups/${path}/-/issues`,
]
const WRAPPERS: ((url: string) => string)[] = [
  (url) => url,
  (url) => `"${url}"`,
  (url) => ` <${url}> `,
  (url) => `[text](${url})`,
  (url) => `url = ${url}`,
  (url) => `'${url}',`,
]

t.test('whatever a project is called and wherever its GitLab is, each form leads to it', async () => {
  fc.assert(
    fc.property(
      HOST,
      OWN_PATH,
      PLACE,
      fc.constantFrom(...FORMS),
      fc.constantFrom(...WRAPPERS),
      (host, own, path, form, wrap) => {
        const instances = [
          instanceAt(host, own),
          instanceAt(`x${host}`, own),
          instanceAt(host, `${own}/elsewhere`),
        ]
        const [reading] = readingsOf(wrap(form(host, own, path)), instances)
        return reading?.baseUrl === `https://${host}${own}` && reading.path === path
      },
    ),
    { numRuns: 3_000 },
  )
})

t.test('no form leads to another host, another path of an instance, or another project', async () => {
  fc.assert(
    fc.property(
      fc.tuple(HOST, HOST).filter(([host, other]) => host !== other),
      fc
        .tuple(PLACE, PLACE)
        .filter(([path, other]) => !`${path}/`.toLowerCase().startsWith(`${other}/`.toLowerCase())),
      fc.constantFrom(...FORMS),
      fc.constantFrom(...WRAPPERS),
      ([host, otherHost], [path, otherPath], form, wrap) => {
        const text = wrap(form(host, '', path))
        const elsewhere = [
          instanceAt(otherHost, ''),
          instanceAt(`${host}.evil`, ''),
          instanceAt(`x${host}`, ''),
          { base_url: `https://${otherHost}`, ssh_hosts: [`x${host}`, `${host}.evil:2222`] },
        ]
        const covering = readingsOf(text, [instanceAt(host, '')]).flatMap(coveringPaths)
        return readingsOf(text, elsewhere).length === 0 && !covering.includes(otherPath.toLowerCase())
      },
    ),
    { numRuns: 3_000 },
  )
})

t.test('a path of an instance is never read on the instance above it', async () => {
  fc.assert(
    fc.property(HOST, PLACE, (host, path) => {
      const instances = [instanceAt(host, ''), instanceAt(host, '/gitlab')]
      const found = readingsOf(`https://${host}/gitlab/${path}.git`, instances)
      return found.length === 1 && found[0]?.baseUrl === `https://${host}/gitlab` && found[0].path === path
    }),
  )
})

t.test('whatever the text is, it is read at once, and never to a host that it does not hold', async () => {
  const parts = fc.constantFrom(
    ...[
      'https://',
      'git@',
      'gitlab.com',
      'evil.example',
      ':',
      '/',
      '//',
      '@',
      '#',
      '?',
      '\\',
      '%2F',
      '..',
      '.git',
      ' ',
    ],
    ...[
      'git::',
      'scm:',
      'url=',
      '[',
      '](',
      ')',
      '<',
      '>',
      '|',
      '"',
      'a',
      '-',
      'acme',
      'ssh://',
      '\u200b',
      '%00',
      ',',
    ],
  )
  // A text that holds gitlab: may mean gitlab.com without naming the whole host.
  const texts = fc.oneof(
    fc.array(parts, { maxLength: 20 }).map((list) => list.join('')),
    fc.string({ unit: 'binary' }),
  )
  fc.assert(
    fc.property(texts, (text) => {
      const hostname = parseResourceUrl(text)?.hostname
      return hostname === undefined || hostname.includes('xn--') || text.toLowerCase().includes(hostname)
    }),
    { numRuns: 20_000 },
  )
  for (const part of [
    'a',
    '.a',
    'a.',
    '/a',
    '//',
    '[',
    '](',
    ' ',
    '"',
    '%2F',
    '=a',
    ' =',
    '@',
    ':',
    'a:',
    '&url',
    '.git',
    '-',
    '<a ',
  ]) {
    const text = part.repeat(LONGEST_URL / part.length)
    for (const begin of [
      '',
      'https://gitlab.com/',
      'git ',
      '[a](',
      'a[',
      'url',
      'scm:git:[fetch=]',
      'gitlab:',
      'vscode://?',
    ]) {
      const from = performance.now()
      parseResourceUrl(`${begin}${text}`.slice(0, LONGEST_URL))
      const took = performance.now() - from
      t.ok(took < 100, `${begin} ${part}: ${took} ms`)
    }
  }
})

t.test(
  'SSH URLs lead to the instance that claims their host and port, else to those that have the host',
  async (t) => {
    const instances = [
      { base_url: 'https://git.example.com', ssh_hosts: ['ssh.example.com:2222', 'git.example.com:2201'] },
      { base_url: 'https://git.example.com:8443', ssh_hosts: ['ssh.example.com'] },
      { base_url: 'https://git.example.com/gitlab', ssh_hosts: ['git.example.com:2202'] },
    ]
    const table: [url: string, baseUrls: string[]][] = [
      ['ssh://git@ssh.example.com:2222/a/b', ['https://git.example.com']],
      ['ssh://git@ssh.example.com:2223/a/b', ['https://git.example.com:8443']],
      ['git@ssh.example.com:a/b', ['https://git.example.com:8443']],
      ['ssh://git@git.example.com:2201/a/b', ['https://git.example.com']],
      ['ssh://git@git.example.com:2202/a/b', ['https://git.example.com/gitlab']],
      ['ssh://git@git.example.com:2203/a/b', ['https://git.example.com', 'https://git.example.com:8443']],
      ['git@git.example.com:a/b', ['https://git.example.com', 'https://git.example.com/gitlab']],
      ['ssh://git@ssh.example.org/a/b', []],
    ]
    for (const [url, baseUrls] of table)
      t.same(
        readingsOf(url, instances).map(({ baseUrl }) => baseUrl),
        baseUrls,
        url,
      )
  },
)

t.test('a URL with another scheme or port is near, not there', async (t) => {
  const instances = [{ base_url: 'https://git.example.com/gitlab', ssh_hosts: [] }]
  for (const url of ['http://git.example.com/gitlab/a/b', 'https://git.example.com:8443/gitlab/a/b']) {
    const resource = parseResourceUrl(url)!
    t.same(readingsAt(resource, instances), [], url)
    t.same(
      nearReadings(resource, instances),
      [{ baseUrl: 'https://git.example.com/gitlab', path: 'a/b' }],
      url,
    )
  }
  for (const url of [
    'http://git.example.com/a/b',
    'http://git.example.org/gitlab/a/b',
    'git@git.example.com:a/b',
  ])
    t.same(nearReadings(parseResourceUrl(url)!, instances), [], url)
})
