import t from 'tap'
import {
  readAssociations,
  readError,
  readInfo,
  readPlace,
  readSelf,
  readUser,
} from '../../src/gitlab/answers.ts'

const NOW = new Date('2026-11-02T10:30:00Z')
const SELF = {
  user_id: 7,
  scopes: ['read_api'],
  expires_at: '2027-01-01',
  created_at: '2026-11-01T00:00:00.000Z',
  active: true,
  revoked: false,
}

t.test('an answer about a token counts when it names an account and scopes', (t) => {
  t.same(readSelf(SELF, NOW), {
    userId: '7',
    scopes: ['read_api'],
    expiresAt: new Date('2027-01-01T00:00:00Z'),
    issuedAt: new Date('2026-11-01T00:00:00Z'),
    isRevoked: false,
    isInactive: false,
  })
  t.match(readSelf({ ...SELF, user_id: '7', scopes: 'read_api api' }, NOW), {
    userId: '7',
    scopes: ['read_api', 'api'],
  })
  for (const user_id of [
    'x',
    '07',
    '',
    '7.0',
    ' 7',
    0,
    -1,
    1.5,
    1e21,
    Number.NaN,
    null,
    undefined,
    true,
    [7],
    {},
  ])
    t.equal(readSelf({ ...SELF, user_id }, NOW), undefined, `user_id ${user_id}`)
  for (const scopes of [null, undefined, [], '', 7, {}, [7], ['a b'], ['\u0000']])
    t.equal(readSelf({ ...SELF, scopes }, NOW), undefined, `scopes ${JSON.stringify(scopes)}`)
  for (const body of [undefined, null, 'text', 7, [], [SELF], {}]) t.equal(readSelf(body, NOW), undefined)
  t.end()
})

t.test('what else an answer says may be nonsense', (t) => {
  for (const nonsense of ['soon', {}, [], null, true, 1e300, '+275760-09-13T00:00:00Z', '1066-10-14']) {
    const { userId, issuedAt } = readSelf({ ...SELF, created_at: nonsense }, NOW)!
    t.same([userId, issuedAt], ['7', null], JSON.stringify(nonsense))
  }
  t.equal(readSelf({ ...SELF, expires_at: 'soon' }, NOW)?.expiresAt, null)
  t.match(readSelf({ ...SELF, revoked: 'true' }, NOW), { isRevoked: true })
  t.match(readSelf({ ...SELF, active: false, revoked: {} }, NOW), { isRevoked: false, isInactive: true })
  t.end()
})

t.test('an OAuth token lives from the time at which GitLab was asked', (t) => {
  const info = { resource_owner_id: 7, scope: ['api'], expires_in: 60, created_at: 1_793_615_400 }
  t.same(readInfo({ ...info, application: { uid: 'client' } }, NOW), {
    userId: '7',
    scopes: ['api'],
    expiresAt: new Date(NOW.getTime() + 60_000),
    issuedAt: new Date(1_793_615_400_000),
    clientId: 'client',
  })
  for (const application of [null, 'client', { uid: 7 }, { uid: 'a\u0000' }, []])
    t.equal(readInfo({ ...info, application }, NOW)?.clientId, null)
  t.equal(readInfo({ ...info, expires_in: null }, NOW)?.expiresAt, null)
  t.equal(readInfo({ ...info, resource_owner_id: 'x' }, NOW), undefined)
  t.end()
})

t.test('names are one line of text that a list can hold', (t) => {
  const user = { id: 7, username: 'maria', name: 'Maria', state: 'active' }
  t.same(readUser(user), { id: '7', username: 'maria', name: 'Maria', isBlocked: false })
  for (const [name, read] of [
    ['Ma\u0000ria\r\nX', 'Ma ria  X'],
    ['Maria\uD800', 'Maria'],
    ['Maria\u202Eairam', 'Maria airam'],
    ['Zoë 🦊', 'Zoë 🦊'],
    ['n'.repeat(1_000), 'n'.repeat(255)],
    ['  ', null],
    [7, null],
    [['Maria'], null],
  ])
    t.equal(readUser({ ...user, name })?.name, read)
  for (const username of ['ma ria', '<b>', '', 7, null, 'n'.repeat(256)])
    t.equal(readUser({ ...user, username })?.username, null)
  t.equal(readUser({ ...user, id: 'x' }), undefined)
  t.end()
})

t.test('a path is a path', (t) => {
  t.same(readPlace({ id: 12, full_path: 'acme/Web-Shop.2' }), { id: '12', path: 'acme/Web-Shop.2' })
  t.same(readPlace({ path_with_namespace: 'acme/web_shop' }), { id: null, path: 'acme/web_shop' })
  for (const full_path of [
    '',
    '/',
    'a/',
    '/a',
    'a//b',
    '../a',
    'a/..',
    'a/./b',
    'a b',
    'a\u0000',
    '<a>',
    7,
    null,
    ['a'],
  ])
    t.equal(readPlace({ full_path }), undefined, JSON.stringify(full_path))
  t.same(
    readAssociations({
      groups: [
        { id: 7, parent_id: null, web_url: 'https://gitlab.example.com/groups/acme' },
        { id: 8, parent_id: 7, web_url: 'https://gitlab.example.com/gitlab/groups/acme/groups-2' },
      ],
      projects: [{ id: 3, path_with_namespace: 'acme/web-shop' }],
    }),
    {
      groups: [
        { id: '7', path: 'acme', parentId: null },
        { id: '8', path: 'acme/groups-2', parentId: '7' },
      ],
      projects: [{ id: '3', path: 'acme/web-shop' }],
    },
  )
  const project = { id: 3, path_with_namespace: 'acme/web-shop' }
  for (const nonsense of [
    null,
    [],
    { groups: [] },
    { groups: {}, projects: [] },
    { groups: [null], projects: [] },
    { groups: [{ id: 7, web_url: 'https://gitlab.example.com/acme' }], projects: [] },
    { groups: [{ id: 7, web_url: 'groups/acme' }], projects: [] },
    { groups: [], projects: [7] },
    { groups: [], projects: [{ path_with_namespace: 'acme/web-shop' }] },
    { groups: [], projects: Array(101).fill(project) },
  ])
    t.equal(readAssociations(nonsense), undefined, JSON.stringify(nonsense)?.slice(0, 80))
  t.end()
})

t.test('an error is told in short texts', (t) => {
  t.same(readError({ error: 'invalid_token', error_description: 'Token was revoked.' }), {
    error: 'invalid_token',
    description: 'Token was revoked.',
    message: '',
  })
  const nonsense = { toString: null }
  t.same(readError({ error: nonsense, error_description: nonsense, message: nonsense }), {
    error: '',
    description: '',
    message: '',
  })
  t.equal(readError({ message: 'm'.repeat(1_000) })?.message.length, 300)
  for (const body of [undefined, null, 'text', 7, []]) t.equal(readError(body), undefined)
  t.end()
})
