import t from 'tap'
import { coveringPaths, parseResourceUrl, readingsOf } from '../../src/gitlab/repository-url.ts'

/** The path that each candidate for the base URL leaves, longest base URL first. */
const read = (url: string): Record<string, string> | undefined => {
  const resource = parseResourceUrl(url)
  return resource && Object.fromEntries(readingsOf(resource).map(({ baseUrl, path }) => [baseUrl, path]))
}

t.test('a URL has one reading for each place where the path of an instance could end', async (t) => {
  t.same(read('https://gitlab.com/acme/web-shop.git'), {
    'https://gitlab.com/acme/web-shop.git': '',
    'https://gitlab.com/acme': 'web-shop',
    'https://gitlab.com': 'acme/web-shop',
  })
  t.same(read('https://gitlab.com/acme/-/issues'), {
    'https://gitlab.com/acme': '',
    'https://gitlab.com': 'acme',
  })
  t.same(read('http://127.0.0.1:8929/site'), {
    'http://127.0.0.1:8929/site': '',
    'http://127.0.0.1:8929': 'site',
  })
  t.same(read('https://gitlab.com/'), { 'https://gitlab.com': '' })
})

t.test('SSH stands for an instance on any port of the host, over https or http', async (t) => {
  const url = 'ssh://git@GitLab.com:2222/acme/web-shop.git'
  t.same(read(url), {
    'https://gitlab.com/acme': 'web-shop',
    'https://gitlab.com': 'acme/web-shop',
    'http://gitlab.com/acme': 'web-shop',
    'http://gitlab.com': 'acme/web-shop',
  })
  t.equal(parseResourceUrl(url)?.anyPort, true)
  t.equal(parseResourceUrl('https://gitlab.com/acme/web-shop')?.anyPort, false)
})

t.test('refuses what names no repository', async (t) => {
  for (const url of [
    '',
    'acme/web-shop',
    'ftp://gitlab.com/acme/web-shop',
    'file:///etc/passwd',
    'https://',
    'https://gitlab.com/acme/%E0%A4%A',
    `https://gitlab.com/${'a'.repeat(2048)}`,
  ]) {
    t.equal(parseResourceUrl(url), undefined, url.slice(0, 60))
  }
})

t.test('a long URL does not stand for a million places', async (t) => {
  const resource = parseResourceUrl(`ssh://gitlab.com/${'a/'.repeat(1000)}`)!
  const places = readingsOf(resource).flatMap((reading) => coveringPaths(reading))
  t.ok(places.length < 300, `${places.length} places`)
})

t.test('a place is covered by every group above it, in lower case, and by "everything"', async (t) => {
  t.same(coveringPaths({ path: 'Acme/Platform/API' }), ['acme/platform/api', 'acme/platform', 'acme', ''])
  t.same(coveringPaths({ path: '' }), [''])
  t.same(coveringPaths({ path: 'acme/shop', uncutPath: 'acme/shop.wiki' }), [
    'acme/shop.wiki',
    'acme/shop',
    'acme',
    '',
  ])
  t.same(coveringPaths({ path: 'acme/shop', uncutPath: 'acme/shop/issues' }), [
    'acme/shop/issues',
    'acme/shop',
    'acme',
    '',
  ])
})
