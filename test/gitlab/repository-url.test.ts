import t from 'tap'
import { coveringPaths, parseResourceUrl } from '../../src/gitlab/repository-url.ts'

/** The path that each candidate for the base URL leaves, longest base URL first. */
const read = (url: string): Record<string, string> | undefined => {
  const resource = parseResourceUrl(url)
  return resource && Object.fromEntries(resource.readings.map(({ baseUrl, path }) => [baseUrl, path]))
}

const PROJECT = { 'https://gitlab.com/acme': 'web-shop', 'https://gitlab.com': 'acme/web-shop' }

t.test('takes every form in which people write the URL of a repository', async (t) => {
  for (const url of [
    'https://gitlab.com/acme/web-shop',
    'https://gitlab.com/acme/web-shop.git',
    'https://gitlab.com/acme/web-shop/',
    'https://gitlab.com/acme/web-shop.git/',
    '  https://gitlab.com/acme/web-shop\n',
    'HTTPS://GitLab.COM:443/acme/web-shop',
    'https://gitlab.com/acme/web-shop/-/tree/main/src?ref_type=heads#L10',
    'https://gitlab.com/acme/web-shop/-/merge_requests/1',
    'https://gitlab.com/acme/web-shop/-',
    'https://gitlab.com//acme//web-shop',
    'https://gitlab.com/acme%2Fweb-shop',
    'https://FAKE-user:FAKE-password@gitlab.com/acme/web-shop.git',
  ]) {
    t.same(read(url), PROJECT, url)
    t.equal(parseResourceUrl(url)?.anyPort, false, url)
  }
})

t.test('takes the forms of SSH for an instance on any port of the host, over https or http', async (t) => {
  const expected = {
    ...PROJECT,
    'http://gitlab.com/acme': 'web-shop',
    'http://gitlab.com': 'acme/web-shop',
  }
  for (const url of [
    'git@gitlab.com:acme/web-shop.git',
    'gitlab.com:acme/web-shop.git',
    'git@GitLab.com:/acme/web-shop.git',
    'ssh://git@gitlab.com/acme/web-shop.git',
    'ssh://git@GITLAB.com:2222/acme/web-shop',
    'git+ssh://git@gitlab.com/acme/web-shop.git',
  ]) {
    t.same(read(url), expected, url)
    t.equal(parseResourceUrl(url)?.anyPort, true, url)
  }
})

t.test('keeps a port that is not the default one, and the scheme', async (t) => {
  t.same(read('http://127.0.0.1:8929/acme/site.git'), {
    'http://127.0.0.1:8929/acme': 'site',
    'http://127.0.0.1:8929': 'acme/site',
  })
})

t.test('leaves a group something to be looked up by', async (t) => {
  t.same(read('https://gitlab.com/acme'), { 'https://gitlab.com': 'acme' })
  t.same(read('https://gitlab.com/'), { 'https://gitlab.com': '' })
})

t.test('refuses what names no repository', async (t) => {
  for (const url of [
    '',
    'acme/web-shop',
    'ftp://gitlab.com/acme/web-shop',
    'file:///etc/passwd',
    'https://',
    'https://gitlab.com/acme/%E0%A4%A',
    'git@gitlab.com:acme/../globex/site.git',
    'https://gitlab.com/acme/..%2Fglobex',
    'https://gitlab.com/acme/web%00shop',
    `https://gitlab.com/${'a'.repeat(2048)}`,
  ]) {
    t.equal(parseResourceUrl(url), undefined, url.slice(0, 60))
  }
})

t.test('a long URL does not stand for a million places', async (t) => {
  const resource = parseResourceUrl(`ssh://gitlab.com/${'a/'.repeat(1000)}`)!
  const places = resource.readings.flatMap(({ path }) => coveringPaths(path))
  t.ok(places.length < 300, `${places.length} places`)
})

t.test('a path is covered by every group above it, in lower case, and by "everything"', async (t) => {
  t.same(coveringPaths('Acme/Platform/API'), ['acme/platform/api', 'acme/platform', 'acme', ''])
  t.same(coveringPaths(''), [''])
})
