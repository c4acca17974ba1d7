import { readFile } from 'node:fs/promises'
import { sql } from 'kysely'
import t from 'tap'
import { dumpSchema } from '../../src/db/schema-dump.ts'
import { connectByOAuth, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createEmptyDatabase } from '../support/database.ts'

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

  t.test('values are what a server gives', async (t) => {
    const query = sql`select '\\x00ff'::bytea as bytes, array['\\x01'::bytea] as many, 7::bigint as big, array[7::bigint] as bigs,
      count(*), 1.5::numeric as exact, 1.5::float8 as float, 7::int as small, true as flag, 'a'::text as text, array['a', null] as texts,
      timestamptz '2026-01-31T00:00:00Z' as time, '{"a":[1]}'::jsonb as json, null as nothing,
      '019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c'::uuid as id`
    const server = (await createEmptyDatabase(t)).db
    const [embedded, pg] = await Promise.all([query.execute(broker.db), query.execute(server)])
    t.strictSame(embedded.rows, pg.rows)
    t.ok((embedded.rows[0] as { bytes: Buffer }).bytes.equals(Buffer.from([0, 255])))
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

  t.test(
    'what is compared with a hash: a handle opens once, and a key of a batch names one request',
    async (t) => {
      const url = `${simulator.url}/acme/web-shop`
      const wrapped = (
        await broker.get(`/v1/credentials?wrap=true&url=${encodeURIComponent(url)}`, { key: scanner })
      ).body
      const open = (handle: string) =>
        broker.post(`/v1/leases/${wrapped.lease_id}/open`, { handle }, { key: scanner })
      t.equal((await open('x'.repeat(43))).status, 404)
      t.match(await open(wrapped.handle), { status: 200, body: { connection_id: oauth } })
      t.match(await open(wrapped.handle), { status: 409, body: { code: 'already_opened' } })
      const batch = (purpose: string) =>
        broker.post(
          '/v1/credentials/batch',
          { requests: [{ url, purpose }] },
          { key: scanner, headers: { 'idempotency-key': 'nightly' } },
        )
      const [first, second] = [await batch('one'), await batch('one')]
      t.equal(second.body.results[0].lease_id, first.body.results[0].lease_id)
      t.match(await batch('two'), { status: 409, body: { code: 'idempotency_key_reused' } })
    },
  )

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
