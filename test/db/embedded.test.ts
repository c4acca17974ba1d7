import { readFile } from 'node:fs/promises'
import t from 'tap'
import { dumpSchema } from '../../src/db/schema-dump.ts'
import { connectByOAuth, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

t.test('on the embedded database', async (t) => {
  const stage = await setStage(t, { broker: { embedded: true } })
  const { broker, simulator, clock } = stage
  const scanner = await broker.createKey('scanner', ['acme'])
  const oauth = await connectByOAuth(stage)
  const pasted = await connectToken(stage, { username: 'tom', group: 'acme/platform' })

  t.test('the schema is the same', async (t) => {
    const committed = await readFile(new URL('../../migrations/schema.sql', import.meta.url), 'utf8')
    t.equal(await dumpSchema(broker.db), committed)
  })

  t.test('connections are found by id and by URL, with a lease', async (t) => {
    const byId = await broker.get(`/v1/connections/${oauth}/credential`, { key: scanner })
    t.equal(byId.status, 200, byId.text)
    t.equal(simulator.world.tokenState(byId.body.token), 'active')
    const url = `${simulator.url}/acme/platform/api.git`
    const byUrl = await broker.get(`/v1/credentials?url=${encodeURIComponent(url)}&purpose=a+scan`, {
      key: scanner,
    })
    t.match(byUrl, { status: 200, body: { connection_id: pasted.id, token: pasted.token } })
    const leases = await broker.db
      .selectFrom('leases')
      .select(['id', 'purpose', 'granted_at'])
      .orderBy('id')
      .execute()
    t.match(leases, [
      { id: byId.body.lease_id, purpose: null, granted_at: new Date(clock()) },
      { id: byUrl.body.lease_id, purpose: 'a scan' },
    ])
    t.equal(
      (await broker.request('DELETE', `/v1/leases/${byId.body.lease_id}`, { key: scanner })).status,
      204,
    )
  })

  t.test('a key that is limited is held to its limits', async (t) => {
    const restrictions = { connections: [oauth], url_prefixes: [`${simulator.url}/acme`] }
    const body = { name: 'limited', role: 'scanner', organizations: ['acme'], restrictions }
    const { key } = (await broker.post('/v1/access-keys', body)).body
    const find = (path: string) => broker.get(`/v1/credentials?url=${simulator.url}/${path}`, { key })
    t.equal((await find('acme/platform/api')).body.connection_id, oauth)
    t.equal((await find('globex/site')).body.code, 'no_connection_for_url')
    t.match((await broker.get('/v1/whoami', { key })).body.restrictions, restrictions)
  })

  t.test('a token that is out is refreshed once for all who ask', async (t) => {
    clock.advance(7_300)
    simulator.requests.clear()
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => broker.get(`/v1/connections/${oauth}/credential`, { key: scanner })),
    )
    t.same(new Set(answers.map(({ status }) => status)), new Set([200]))
    t.same(new Set(answers.map(({ body }) => body.token_version)), new Set([2]))
    t.equal(simulator.requests.count({ grantType: 'refresh_token' }), 1)
    t.equal(simulator.world.tokenState(answers[0]?.body.token), 'active')
  })

  t.test('lists and problems are the same', async (t) => {
    const { body } = await broker.get('/v1/connections?limit=1')
    const rest = await broker.get(`/v1/connections?limit=1&cursor=${body.next_cursor}`)
    t.same([body.items[0].id, rest.body.items[0].id, rest.body.next_cursor], [oauth, pasted.id, null])
    const again = await broker.post('/v1/instances', { base_url: simulator.url, allow_private_network: true })
    t.match(again, { status: 409, body: { code: 'instance_exists' } })
    const used = await broker.request('DELETE', `/v1/instances/${stage.instanceId}`)
    t.match(used, { status: 409, body: { code: 'instance_in_use' } })
    t.equal((await broker.get('/readyz', { key: null })).status, 200)
  })
})
