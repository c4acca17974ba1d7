import fc from 'fast-check'
import t from 'tap'
import { readingsAt } from '../../../src/gitlab/repository-url.ts'
import { readAddress } from '../../../src/gitlab/urls/pasted-address.ts'
import { nearestBaseUrl } from '../../../src/instances/suggest-instance.ts'

const HOST = 'https://gitlab.example.com'
const UNDER_PATH = 'https://git.example.com/gitlab'
const REGISTERED = [
  { base_url: HOST, ssh_hosts: ['ssh.example.com:2222'] },
  { base_url: UNDER_PATH, ssh_hosts: [] },
  { base_url: 'https://gitlab.example.com:8443', ssh_hosts: [] },
  { base_url: 'http://gitlab.internal', ssh_hosts: [] },
]

t.test('whatever stands in the address bar finds its instance, and the group that it names', async (t) => {
  const table: [text: string, baseUrl: string, group: string][] = [
    [HOST, HOST, ''],
    [`${HOST}/`, HOST, ''],
    ['gitlab.example.com', HOST, ''],
    ['gitlab.example.com/', HOST, ''],
    ['  GITLAB.Example.com. ', HOST, ''],
    ['HTTPS://GITLAB.EXAMPLE.COM:443/', HOST, ''],
    [`"${HOST}"`, HOST, ''],
    [`<${HOST}>`, HOST, ''],
    [`${HOST}/users/sign_in`, HOST, ''],
    [`${HOST}/users/sign_in?redirect_to_referer=yes#x`, HOST, ''],
    [`${HOST}/-/user_settings/personal_access_tokens?name=x`, HOST, ''],
    [`${HOST}/-/profile/personal_access_tokens`, HOST, ''],
    [`${HOST}/dashboard/projects`, HOST, ''],
    [`${HOST}/explore`, HOST, ''],
    [`${HOST}/api/v4`, HOST, ''],
    [`${HOST}/api/v4/`, HOST, ''],
    [`${HOST}/api/v4/user`, HOST, ''],
    [`${HOST}/projects/new`, HOST, ''],
    [`${HOST}/admin`, HOST, ''],
    [`${HOST}/acme`, HOST, 'acme'],
    [`${HOST}/acme/platform`, HOST, 'acme/platform'],
    [`${HOST}/groups/acme/platform`, HOST, 'acme/platform'],
    [`${HOST}/groups/acme/platform/-/settings/access_tokens`, HOST, 'acme/platform'],
    [`${HOST}/acme/web-shop/-/settings/access_tokens`, HOST, 'acme/web-shop'],
    [`${HOST}/acme/web-shop.git`, HOST, 'acme/web-shop'],
    [`${HOST}/acme/web-shop/-/tree/main/src`, HOST, 'acme/web-shop'],
    ['gitlab.example.com/acme/web-shop', HOST, 'acme/web-shop'],
    ['git@gitlab.example.com:acme/web-shop.git', HOST, 'acme/web-shop'],
    ['ssh://git@ssh.example.com:2222/acme/web-shop.git', HOST, 'acme/web-shop'],
    ['gitlab.example.com:8443/acme', 'https://gitlab.example.com:8443', 'acme'],
    [UNDER_PATH, UNDER_PATH, ''],
    [`${UNDER_PATH}/users/sign_in`, UNDER_PATH, ''],
    [`${UNDER_PATH}/acme/web-shop`, UNDER_PATH, 'acme/web-shop'],
    ['git.example.com/gitlab/groups/acme', UNDER_PATH, 'acme'],
    ['gitlab.internal', 'http://gitlab.internal', ''],
    ['http://gitlab.internal/acme/x', 'http://gitlab.internal', 'acme/x'],
  ]
  for (const [text, baseUrl, group] of table) {
    const { resource } = readAddress(text) ?? {}
    t.match(resource && readingsAt(resource, REGISTERED)[0], { baseUrl, path: group }, text)
  }
})

t.test('where nobody has registered it, pages are taken off and a path is kept', async (t) => {
  const table: [text: string, baseUrl: string | undefined][] = [
    ['https://new.example.com', 'https://new.example.com'],
    ['new.example.com', 'https://new.example.com'],
    ['new.example.com:8443/', 'https://new.example.com:8443'],
    ['http://new.example.com/x/', 'http://new.example.com/x'],
    ['https://new.example.com/gitlab', 'https://new.example.com/gitlab'],
    ['https://new.example.com/dev/gitlab/', 'https://new.example.com/dev/gitlab'],
    ['https://new.example.com/Dev/GitLab', 'https://new.example.com/Dev/GitLab'],
    ['https://new.example.com/gitlab/api/v4/', 'https://new.example.com/gitlab'],
    ['https://new.example.com/api', 'https://new.example.com'],
    ['https://new.example.com/users/sign_in', 'https://new.example.com'],
    ['https://new.example.com/gitlab/users/sign_in', 'https://new.example.com/gitlab'],
    ['https://new.example.com/gitlab/-/user_settings/profile', 'https://new.example.com/gitlab'],
    ['https://new.example.com/gitlab/groups/acme', 'https://new.example.com/gitlab'],
    ['https://new.example.com/gitlab/explore', 'https://new.example.com/gitlab'],
    ['https://new.example.com/acme/web-shop/-/issues', 'https://new.example.com'],
    ['https://new.example.com/acme/web-shop/tree/main', 'https://new.example.com'],
    ['https://new.example.com/acme/web-shop.git', 'https://new.example.com'],
    ['git@new.example.com:acme/web-shop.git', 'https://new.example.com'],
    ['https://new.example.com/users', 'https://new.example.com/users'],
    ['https://new.example.com/projects/gitlab', 'https://new.example.com/projects/gitlab'],
    ['http://127.0.0.1:8929/', 'http://127.0.0.1:8929'],
    ['http://[::1]:8929/', 'http://[::1]:8929'],
    ['', undefined],
    ['not a url', undefined],
    ['ftp://new.example.com', undefined],
    ['javascript:alert(1)', undefined],
    ['data:text/html,x', undefined],
    ['gitlab:acme', undefined],
    ['new.example.com:acme/x', 'https://new.example.com'],
    ['git@new:acme/x', 'https://new'],
    ['https://', undefined],
    ['https://maria:FAKE-word@new.example.com', undefined],
    ['https://FAKE-token@new.example.com/acme/web-shop', undefined],
  ]
  for (const [text, baseUrl] of table) t.equal(readAddress(text)?.baseUrl, baseUrl, text)
})

t.test('reading what was read changes nothing', async () => {
  const segment = fc.constantFrom(
    'acme',
    'gitlab',
    '-',
    'users',
    'sign_in',
    'groups',
    'api',
    'v4',
    'tree',
    'x.git',
    'explore',
  )
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 6 }), (segments) => {
      const once = readAddress(`https://new.example.com/${segments.join('/')}`)?.baseUrl ?? ''
      return readAddress(once)?.baseUrl === once
    }),
  )
})

t.test('the registered instance that was meant', async (t) => {
  const registered = ['https://gitlab.example.com', 'https://git.example.com/gitlab', 'http://10.0.0.5']
  const table: [baseUrl: string, meant: string | undefined][] = [
    ['http://gitlab.example.com', 'https://gitlab.example.com'],
    ['https://gitlab.example.com:8443', 'https://gitlab.example.com'],
    ['https://git.example.com', 'https://git.example.com/gitlab'],
    ['https://gitlab.exmaple.com', 'https://gitlab.example.com'],
    ['https://gitlab.example.co', 'https://gitlab.example.com'],
    ['https://gitlba.example.com', 'https://gitlab.example.com'],
    ['https://gitlab.example.com', undefined],
    ['https://gitlab.example.org', undefined],
    ['https://other.example.com', undefined],
    ['http://10.0.0.6', undefined],
  ]
  for (const [baseUrl, meant] of table)
    t.equal(
      nearestBaseUrl(baseUrl, baseUrl === registered[0] ? registered.slice(0, 1) : registered),
      meant,
      baseUrl,
    )
})
