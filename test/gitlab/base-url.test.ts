import t from 'tap'
import { canonicalBaseUrl, isLoopback } from '../../src/gitlab/base-url.ts'

t.test('forgives what people add to the address of their GitLab', async (t) => {
  const table: Record<string, string[]> = {
    'https://gitlab.com': [
      'https://gitlab.com',
      'https://gitlab.com/',
      'https://gitlab.com//',
      'HTTPS://GitLab.COM',
      'https://gitlab.com:443',
      'https://gitlab.com/api/v4',
      'https://gitlab.com/API/V4/',
      'https://gitlab.com/api',
      'https://gitlab.com?private_token=FAKE#top',
      '  https://gitlab.com\n',
      'gitlab.com',
    ],
    'https://git.example.com/gitlab': [
      'https://git.example.com/gitlab',
      'https://git.example.com/gitlab/',
      'https://git.example.com/gitlab/api/v4/',
      'https://GIT.example.com//gitlab',
      'git.example.com/gitlab',
    ],
    'https://git.example.com:8443/GitLab': ['git.example.com:8443/GitLab/'],
    'http://127.0.0.1:8929': ['http://127.0.0.1:8929/', 'http://127.1:8929'],
    'http://[::1]:8929': ['http://[::1]:8929'],
  }
  for (const [canonical, forms] of Object.entries(table)) {
    for (const form of forms) t.equal(canonicalBaseUrl(form), canonical, form)
  }
})

t.test('refuses what is no http address, or holds credentials', async (t) => {
  for (const text of [
    '',
    ' ',
    'https://',
    'ftp://gitlab.com',
    'ssh://git@gitlab.com',
    'https://FAKE-user:FAKE-password@gitlab.com',
    'https://git lab.com',
    'https://gitlab.com:99999',
  ]) {
    t.equal(canonicalBaseUrl(text), undefined, text)
  }
})

t.test('loopback is this machine only', async (t) => {
  for (const url of [
    'http://127.0.0.1',
    'http://127.9.9.9:1',
    'http://localhost',
    'http://a.localhost',
    'http://[::1]',
  ])
    t.equal(isLoopback(url), true, url)
  for (const url of ['http://localhost.example.com', 'http://128.0.0.1', 'http://10.0.0.1', 'http://[::2]'])
    t.equal(isLoopback(url), false, url)
})

t.test('a public host whose name begins with 127 is not taken for loopback', async (t) => {
  t.equal(isLoopback('http://127.example.com'), false)
  t.equal(isLoopback('http://127.0.0.1.example.com'), false)
})
