import t from 'tap'
import { findRule, matchesGlob } from '../../src/trusted-issuers/claims.ts'

t.test('a pattern matches the whole text, segment by segment', async (t) => {
  const table: [text: string, pattern: string, matches: boolean][] = [
    ['acme/web-shop', 'acme/web-shop', true],
    ['acme/web-shop', 'acme/*', true],
    ['acme/web-shop', '*', false],
    ['acme/web-shop', '**', true],
    ['acme/platform/api', 'acme/*', false],
    ['acme/platform/api', 'acme/**', true],
    ['acme/platform/api', 'acme/*/api', true],
    ['acme', 'acme/*', false],
    ['acme/', 'acme/*', true],
    ['acme-evil/web-shop', 'acme/*', false],
    ['evil/acme/web-shop', 'acme/*', false],
    ['Acme/web-shop', 'acme/*', false],
    ['acmeXweb', 'acme.web', false],
    ['acme/a\nb', 'acme/*', true],
    ['refs/heads/main', 'refs/heads/(main|master)', false],
    ['a+b', 'a+b', true],
    ['', '*', true],
    ['', '', true],
    ['a', '', false],
    ['a', '***', true],
    ['a/b', '***', true],
    ['😀/x', '*/x', true],
    ['x'.repeat(2_001), '**', false],
    ['project_path:acme/web:ref:main', 'project_path:acme/*:ref:main', true],
  ]
  for (const [text, pattern, matches] of table)
    t.equal(matchesGlob(text, pattern), matches, `${JSON.stringify(text)} by ${pattern}`)
})

t.test('no pattern keeps the process busy', async (t) => {
  const started = performance.now()
  t.equal(matchesGlob('a'.repeat(2_000), `${'*a'.repeat(249)}b`), false)
  t.equal(matchesGlob('a'.repeat(2_000), `${'**a'.repeat(166)}`), true)
  t.ok(performance.now() - started < 2_000)
})

t.test('the first rule counts all of whose claims the token has', async (t) => {
  const rule = (access_key_id: string, claims: Record<string, string | string[]>) => ({
    access_key_id,
    claims,
  })
  const token = {
    sub: 'system:serviceaccount:scan:nightly',
    project_path: 'acme/web-shop',
    groups: ['everybody', 'scanners'],
    ref_protected: true,
    level: 30,
    nothing: null,
    'kubernetes.io': { namespace: 'scan', 'a/b~c': ['x', 'y'] },
  }
  const table: [claims: Record<string, string | string[]>, matches: boolean][] = [
    [{ project_path: 'acme/*' }, true],
    [{ project_path: 'acme/*', ref_protected: 'true', level: '30' }, true],
    [{ project_path: 'acme/*', ref_protected: 'false' }, false],
    [{ groups: 'scan*' }, true],
    [{ groups: ['admins', 'scanners'] }, true],
    [{ groups: ['admins', 'owners'] }, false],
    [{ missing: '**' }, false],
    [{ nothing: '**' }, false],
    [{ 'kubernetes.io': '**' }, false],
    [{ '/kubernetes.io/namespace': 'scan' }, true],
    [{ '/kubernetes.io/a~1b~0c': 'y' }, true],
    [{ '/kubernetes.io/namespace/length': '4' }, false],
    [{ '/groups/1': 'scanners' }, true],
    [{ toString: '**' }, false],
    [{ '/constructor/name': '**' }, false],
    [{ ['__proto__']: '**' }, false],
  ]
  for (const [claims, matches] of table)
    t.equal(findRule([rule('a', claims)], token) !== undefined, matches, JSON.stringify(claims))
  const rules = [rule('a', { sub: 'nobody' }), rule('b', { groups: '*' }), rule('c', { sub: '**' })]
  t.equal(findRule(rules, token)?.access_key_id, 'b')
})
