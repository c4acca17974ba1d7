import { sql } from 'kysely'
import t from 'tap'
import { ensureConfiguredApp } from '../../src/oauth-apps/configured-app.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { connectByOAuth, MASTER_KEY, setStage, startTestBroker } from '../support/broker.ts'
import { authorize, callBack } from '../support/oauth.ts'

const GITLAB_COM = '01900000-0000-7000-8000-000000000001'
const APP = {
  slug: 'gitlab-com',
  instance_id: GITLAB_COM,
  client_id: 'FAKE-client-id',
  client_secret: 'gloas-FAKE-client-secret',
}

t.test('OAuth apps', async (t) => {
  const broker = await startTestBroker(t)
  const { body: app } = await broker.post('/v1/oauth-apps', APP)
  const path = `/v1/oauth-apps/${app.id}`
  const stored = () =>
    broker.db.selectFrom('oauth_apps').selectAll().where('id', '=', app.id).executeTakeFirstOrThrow()
  const vault = createVault(await openKeyRing(broker.db, [MASTER_KEY], broker.clock))

  t.test('answer everything but their secret, and the redirect URI to enter at GitLab', async (t) => {
    t.match(app, {
      slug: 'gitlab-com',
      instance_id: GITLAB_COM,
      client_id: 'FAKE-client-id',
      scopes: ['read_user', 'read_api', 'read_repository'],
      callback_url: `${broker.url}/oauth/gitlab-com/callback`,
    })
    t.same((await broker.get(path)).body, app)
    t.same((await broker.get('/v1/oauth-apps')).body, { items: [app], next_cursor: null })
    const patched = await broker.request('PATCH', path, { body: { scopes: ['api'] } })
    for (const body of [app, patched.body]) t.notOk('client_secret' in body)
    t.notMatch(JSON.stringify([app, patched.body]), 'gloas-FAKE')
  })

  t.test('keep their secret sealed for their version, changed or not', async (t) => {
    const before = await stored()
    t.equal(before.version, 2)
    t.equal(
      await vault.open(before.client_secret, { ownerId: app.id, version: 2, use: 'client_secret' }),
      APP.client_secret,
    )
    await t.rejects(vault.open(before.client_secret, { ownerId: app.id, version: 1, use: 'client_secret' }))
    await broker.request('PATCH', path, { body: { client_secret: 'gloas-FAKE-new' } })
    const after = await stored()
    t.equal(
      await vault.open(after.client_secret, { ownerId: app.id, version: 3, use: 'client_secret' }),
      'gloas-FAKE-new',
    )
    t.match(after, { scopes: ['api'], client_id: 'FAKE-client-id' })
  })

  t.test('have a slug of their own, on an instance that exists', async (t) => {
    t.match(await broker.post('/v1/oauth-apps', APP), { status: 409, body: { code: 'oauth_app_exists' } })
    const nowhere = { ...APP, slug: 'other', instance_id: '01900000-0000-7000-8000-00000000dead' }
    t.match(await broker.post('/v1/oauth-apps', nowhere), {
      status: 404,
      body: { detail: 'There is no such instance.' },
    })
  })

  t.test('are for admins, and for changes those of all organizations', async (t) => {
    const limited = await broker.createKey('admin', ['acme'])
    const manager = await broker.createKey('manager', ['*'])
    t.equal((await broker.get(path, { key: limited })).status, 200)
    t.match(await broker.get(path, { key: manager }), { status: 403, body: { code: 'forbidden' } })
    for (const answer of [
      await broker.post('/v1/oauth-apps', { ...APP, slug: 'mine' }, { key: limited }),
      await broker.request('PATCH', path, { key: limited, body: { client_secret: 'FAKE' } }),
      await broker.request('DELETE', path, { key: limited }),
    ]) {
      t.match(answer, { status: 403, body: { code: 'forbidden' } })
    }
  })

  t.test('are deleted, and then gone', async (t) => {
    t.equal((await broker.request('DELETE', path)).status, 204)
    for (const [method, more] of [
      ['GET', {}],
      ['PATCH', { body: { scopes: ['api'] } }],
      ['DELETE', {}],
    ] as const) {
      t.match(await broker.request(method, path, more), { status: 404, body: { code: 'not_found' } })
    }
  })
})

t.test('an app with connections is not deleted, and a renewed secret keeps them alive', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const id = await connectByOAuth(stage)
  const [app] = (await broker.get('/v1/oauth-apps')).body.items
  const path = `/v1/oauth-apps/${app.id}`
  t.match(await broker.request('DELETE', path), { status: 409, body: { code: 'oauth_app_in_use' } })

  simulator.world.changeAppSecret('simulator-client', 'gloas-FAKE-renewed')
  await broker.request('PATCH', path, { body: { client_secret: 'gloas-FAKE-renewed' } })
  clock.advance(7_300)
  const credential = await broker.get(`/v1/connections/${id}/credential`)
  t.match(credential, { status: 200, body: { token_version: 2 } })
})

t.test('a wrong client secret is told as such, at connecting and at refreshing', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const id = await connectByOAuth(stage)
  simulator.world.changeAppSecret('simulator-client', 'gloas-FAKE-changed-at-gitlab')
  const { callback, cookie } = await authorize(stage, { username: 'tom' })
  t.equal((await callBack(broker, callback, cookie)).code, 'oauth_app_rejected')
  clock.advance(7_300)
  const answer = await broker.get(`/v1/connections/${id}/credential`)
  t.match(answer, { status: 503, body: { code: 'oauth_app_rejected' } })
  t.equal((await broker.get(`/v1/connections/${id}`)).body.status, 'active', 'the connection is not to blame')
})

t.test('the app of the environment', async (t) => {
  const { db, clock, get } = await startTestBroker(t)
  const vault = createVault(await openKeyRing(db, [MASTER_KEY], clock))
  const wanted = {
    clientId: 'FAKE-id',
    clientSecret: 'gloas-FAKE',
    baseUrl: 'https://gitlab.com',
    scopes: ['read_api', 'read_repository'],
  }
  const ensure = (changes: Partial<typeof wanted> = {}) =>
    ensureConfiguredApp(db, { vault, clock }, { ...wanted, ...changes })
  const version = async () =>
    (await db.selectFrom('oauth_apps').select('version').execute()).map((row) => row.version)

  t.test('is registered once, by however many replicas start at once', async (t) => {
    // With every connection of the pool open, all of them ask before the first has written.
    await Promise.all(Array.from({ length: 5 }, () => sql`select pg_sleep(0.01)`.execute(db)))
    await Promise.all(Array.from({ length: 5 }, () => ensure()))
    const { body } = await get('/v1/oauth-apps')
    t.match(body.items, [
      { slug: 'gitlab-com', client_id: 'FAKE-id', scopes: wanted.scopes, instance_id: GITLAB_COM },
    ])
    t.same(await version(), [1])
  })

  t.test('stays as it is while the environment does, and follows it when it changes', async (t) => {
    await ensure()
    t.same(await version(), [1])
    await ensure({ clientSecret: 'gloas-FAKE-renewed' })
    t.same(await version(), [2])
    await ensure({ clientSecret: 'gloas-FAKE-renewed', scopes: ['api'] })
    t.same(await version(), [3])
  })

  t.test('moves to another GITLAB_BASE_URL while nobody is connected through it', async (t) => {
    await ensure({ baseUrl: 'https://gitlab.example.com/gitlab/' })
    const { body } = await get('/v1/oauth-apps')
    const instance = await get(`/v1/instances/${body.items[0].instance_id}`)
    t.equal(instance.body.base_url, 'https://gitlab.example.com/gitlab')
  })
})

t.test('the app of the environment does not move away from its connections', async (t) => {
  const stage = await setStage(t)
  const { db, clock } = stage.broker
  await connectByOAuth(stage)
  await db.updateTable('oauth_apps').set({ slug: 'gitlab-com' }).execute()
  const vault = createVault(await openKeyRing(db, [MASTER_KEY], clock))
  const wanted = {
    clientId: 'FAKE-id',
    clientSecret: 'gloas-FAKE',
    baseUrl: 'https://gitlab.com',
    scopes: ['api'],
  }
  await t.rejects(ensureConfiguredApp(db, { vault, clock }, wanted), /^GITLAB_BASE_URL names another GitLab/)
  const { instance_id, client_id } = await db.selectFrom('oauth_apps').selectAll().executeTakeFirstOrThrow()
  t.same([instance_id, client_id], [stage.instanceId, 'simulator-client'])
})
