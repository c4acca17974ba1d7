import t, { type Test } from 'tap'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

const setUp = async (t: Test, base_url: string) => {
  const stage = await setStage(t)
  const { broker, instanceId } = stage
  const wide = await connectToken(stage)
  const project = await connectToken(stage, { username: 'tom', group: 'acme/web-shop' })
  // Access tokens are served without asking GitLab: its name can be one that tests may not call.
  await broker.db.updateTable('instances').set({ base_url }).where('id', '=', instanceId).execute()
  const find = async (url: string, key?: string) => {
    const query = new URLSearchParams({ url, organization: 'acme' })
    return (await broker.get(`/v1/credentials?${query}`, key ? { key } : {})).body
  }
  return { broker, instanceId, wide, project, find }
}

t.test('URLs find their connection as people and tools write them', async (t) => {
  const { broker, instanceId, wide, project, find } = await setUp(t, 'https://git.example.com/gitlab')

  t.test('for the project, whatever is around or behind', async (t) => {
    for (const url of [
      'git@git.example.com:acme/web-shop.git',
      'git+ssh://git@git.example.com:acme/web-shop.git#semver:^1',
      'ssh://git@git.example.com:2222/acme/web-shop.wiki.git',
      'https://git.example.com/gitlab/acme/web-shop.git/info/lfs',
      'git::https://git.example.com/gitlab/acme/web-shop.git//modules/vpc?ref=v1',
      'https://git.example.com/gitlab/api/v4/projects/acme%2Fweb-shop/repository/archive.zip',
      'https://git.example.com/gitlab/acme/web-shop/tree/master',
      '[web-shop](https://git.example.com/gitlab/acme/web-shop "x")',
      'git.example.com/gitlab/acme/web-shop',
    ])
      t.equal((await find(url)).connection_id, project.id, url)
    const group = await find('https://git.example.com/gitlab/groups/acme/platform')
    t.equal(group.connection_id, wide.id)
  })

  t.test('and none by what only resembles it', async (t) => {
    for (const url of [
      'https://git.example.com.evil.example/gitlab/acme/web-shop',
      'https://git.example.com@evil.example/gitlab/acme/web-shop',
      'https://git.example.com/gitlab2/acme/web-shop',
      'git@ssh.example.com:acme/web-shop.git',
    ])
      t.match(await find(url), { code: 'no_connection_for_url', candidates: [] }, url)
    t.equal((await find('https://git.example.com/gitlab/acme/web-shop-tree')).connection_id, wide.id)
  })

  t.test('by the SSH hosts of the instance', async (t) => {
    const path = `/v1/instances/${instanceId}`
    const change = (ssh_hosts: unknown) => broker.request('PATCH', path, { body: { ssh_hosts } })
    const set = await change(['SSH.Example.com:2222', 'ssh.example.com:2222', 'alias.example.com.'])
    t.match(set, { status: 200, body: { ssh_hosts: ['ssh.example.com:2222', 'alias.example.com'] } })
    for (const url of [
      'ssh://git@ssh.example.com:2222/acme/web-shop.git',
      'git@ssh.example.com:acme/web-shop.git',
      'git@alias.example.com:acme/web-shop.git',
      'git@git.example.com:acme/web-shop.git',
    ])
      t.equal((await find(url)).connection_id, project.id, url)
    for (const url of [
      'ssh://git@ssh.example.com:22/acme/web-shop.git',
      'https://alias.example.com/gitlab/acme/web-shop.git',
    ])
      t.equal((await find(url)).code, 'no_connection_for_url', url)
    for (const wrong of [
      [''],
      ['https://ssh.example.com'],
      ['a b'],
      ['ssh.example.com/x'],
      ['x:99999'],
      ['git@x'],
    ])
      t.match(await change(wrong), { status: 400, body: { code: 'invalid_request' } }, String(wrong))
    for (const wrong of ['ssh.example.com', [1], null, Array(21).fill('ssh.example.com')])
      t.match(await change(wrong), { status: 400, body: { code: 'invalid_request' } })
    t.same((await broker.get(path)).body.ssh_hosts, set.body.ssh_hosts, 'nothing changed')
    t.same((await change([])).body.ssh_hosts, [])
    t.equal((await find('git@alias.example.com:acme/web-shop.git')).code, 'no_connection_for_url')
  })

  t.test('where SSH hosts are given at once, and gitlab.com has its own', async (t) => {
    const added = await broker.post('/v1/instances', {
      base_url: 'https://other.example.com',
      ssh_hosts: ['git.example.com:2222'],
    })
    t.match(added, { status: 201, body: { ssh_hosts: ['git.example.com:2222'] } })
    t.equal(
      (await find('ssh://git@git.example.com:2222/acme/web-shop.git')).code,
      'no_connection_for_url',
      'the host and port that another instance claims are its own',
    )
    t.equal((await find('git@git.example.com:acme/web-shop.git')).code, 'no_connection_for_url')
    t.equal((await find('ssh://git@git.example.com:22/acme/web-shop.git')).connection_id, project.id)
    await broker.request('DELETE', `/v1/instances/${added.body.id}`)
    const { items } = (await broker.get('/v1/instances')).body
    const gitlabCom = items.find(({ base_url }: { base_url: string }) => base_url === 'https://gitlab.com')
    t.same(gitlabCom.ssh_hosts, ['altssh.gitlab.com'])
  })

  t.test('a project that is called like a page has its own connection', async (t) => {
    const { db } = broker
    const rename = (group_path: string) =>
      db.updateTable('connections').set({ group_path }).where('id', '=', project.id).execute()
    await rename('acme/web-shop/issues')
    t.equal((await find('https://git.example.com/gitlab/acme/web-shop/issues')).connection_id, project.id)
    t.equal((await find('https://git.example.com/gitlab/acme/web-shop/issues/1')).connection_id, project.id)
    t.equal((await find('https://git.example.com/gitlab/acme/web-shop/-/issues')).connection_id, wide.id)
    await rename('acme/web-shop.wiki')
    t.equal((await find('https://git.example.com/gitlab/acme/web-shop.wiki.git')).connection_id, project.id)
    t.equal((await find('https://git.example.com/gitlab/acme/web-shop.git')).connection_id, wide.id)
  })
})

t.test('another scheme or port gets a hint, and only where a connection would cover the URL', async (t) => {
  const { broker, wide, find } = await setUp(t, 'https://git.example.com')
  const key = async (more: object) =>
    (await broker.post('/v1/access-keys', { name: 'x', role: 'scanner', organizations: ['acme'], ...more }))
      .body.key
  const table: [url: string, reason: string][] = [
    ['http://git.example.com/acme/web-shop.git', 'other_scheme'],
    ['http://git.example.com:8080/acme/web-shop.git', 'other_scheme'],
    ['https://git.example.com:8443/acme/web-shop.git', 'other_port'],
  ]
  for (const [url, reason] of table) {
    const found = await find(url)
    t.match(found, {
      code: 'no_connection_for_url',
      candidates: [],
      hint: { reason, base_url: 'https://git.example.com' },
    })
    t.match(found.detail, 'the connection is for https://git.example.com', url)
  }
  for (const url of [
    'registry.git.example.com/acme/web-shop/image:1.0',
    'https://registry.git.example.com/acme/web-shop',
    'registry.git.example.com:5050/acme/web-shop@sha256:0a1b',
  ]) {
    const found = await find(url)
    const hint = { reason: 'container_registry', base_url: 'https://git.example.com' }
    t.match(found, { code: 'no_connection_for_url', detail: /URL of the project/, hint }, url)
    t.equal(found.token, undefined)
  }
  for (const url of [
    'registry.git.example.org/acme/x',
    'registry.registry.git.example.com/acme/x',
    'http://git.example.org/acme/x',
    'ftp://git.example.com/acme/x',
    'git@git.example.org:a/b',
  ])
    t.equal((await find(url)).hint, undefined, url)
  const url = 'http://git.example.com/acme/web-shop.git'
  const elsewhere = await key({ organizations: ['globex'] })
  t.equal(
    (await broker.get(`/v1/credentials?${new URLSearchParams({ url })}`, { key: elsewhere })).body.hint,
    undefined,
  )
  const beside = await key({ restrictions: { url_prefixes: ['https://git.example.com/globex'] } })
  t.equal((await find(url, beside)).hint, undefined, 'what lies outside of a key does not exist for it')
  await broker.request('DELETE', `/v1/connections/${wide.id}?revoke=false`)
})

t.test('a key with URL prefixes gets nothing through an address that only seems to lie within', async (t) => {
  const { broker, wide, find } = await setUp(t, 'https://git.example.com')
  const made = await broker.post('/v1/access-keys', {
    name: 'limited',
    role: 'scanner',
    organizations: ['acme'],
    restrictions: { url_prefixes: ['https://git.example.com/gitlab/acme'] },
  })
  const { key } = made.body
  t.equal((await find('https://git.example.com/gitlab/acme/x', key)).connection_id, wide.id)
  for (const url of [
    'https://git.example.com/gitlab/groups/acme/x',
    'https://git.example.com/gitlab/api/v4/projects/acme%2Fx',
    'https://git.example.com/acme/x',
    'https://git.example.com/gitlab/acme2.wiki.git',
    'git@git.example.com:acme/x.git',
  ])
    t.equal((await find(url, key)).code, 'no_connection_for_url', url)
  t.equal((await find('git@git.example.com:gitlab/acme/x.git', key)).connection_id, wide.id)

  await t.test('the wiki of its project, and no project that is called like the wiki', async (t) => {
    const wiki = 'https://git.example.com/gitlab/acme.wiki.git'
    t.equal((await find(wiki, key)).connection_id, wide.id)
    await broker.db
      .updateTable('connections')
      .set({ group_path: 'gitlab/acme.wiki' })
      .where('id', '=', wide.id)
      .execute()
    t.equal((await find(wiki)).connection_id, wide.id)
    t.equal((await find(wiki, key)).code, 'no_connection_for_url')
  })
})
