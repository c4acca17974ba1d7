import t, { type Test } from 'tap'
import { connectByOAuth, setStage } from '../../support/broker.ts'
import { connectToken } from '../../support/connect.ts'

const setWrappedStage = async (t: Test) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const key = await broker.createKey('scanner', ['acme'])
  const byUrl = `/v1/credentials?wrap=true&url=${simulator.url}/acme/web-shop`
  const open = (leaseId: string, handle: string, as = key) =>
    broker.post(`/v1/leases/${leaseId}/open`, { handle }, { key: as })
  const eventsOf = async (leaseId: string) =>
    (
      await broker.db
        .selectFrom('audit_events')
        .select(['action', 'organization', 'access_key_id', 'details'])
        .where('subject_id', '=', leaseId)
        .orderBy('id')
        .execute()
    ).map(({ details, ...event }) => ({ ...event, details: details as unknown as Record<string, unknown> }))
  return { ...stage, key, byUrl, open, eventsOf }
}

const NOT_THERE = { status: 404, body: { code: 'not_found' } }

t.test('a wrapped credential', async (t) => {
  const stage = await setWrappedStage(t)
  const { broker, key, byUrl, open, eventsOf } = stage
  const { id, token } = await connectToken(stage)
  const wrap = async () => (await broker.get(byUrl, { key })).body

  t.test('is a handle without a token, and opens once', async (t) => {
    for (const path of [byUrl, `/v1/connections/${id}/credential?wrap=true`]) {
      const wrapped = await broker.get(path, { key })
      t.equal(wrapped.status, 200)
      t.equal(wrapped.headers.get('cache-control'), 'no-store')
      t.notMatch(wrapped.text, token)
      const { lease_id, handle, ...rest } = wrapped.body
      t.match(handle, /^[\w-]{43}$/)
      t.same(rest, {
        connection_id: id,
        organization: 'acme',
        base_url: stage.simulator.url,
        expires_at: new Date(broker.clock() + 60_000).toISOString(),
      })
      const row = await broker.db
        .selectFrom('wrapped_leases')
        .selectAll()
        .where('lease_id', '=', lease_id)
        .executeTakeFirst()
      t.notMatch(JSON.stringify(row), handle, 'stored as a hash')

      const opened = await open(lease_id, handle)
      t.match(opened, { status: 200, body: { lease_id, connection_id: id, token, git: { password: token } } })
      t.equal(opened.headers.get('cache-control'), 'no-store')
      t.match(await eventsOf(lease_id), [{ action: 'lease.opened', organization: 'acme' }])
      const release = await broker.request('DELETE', `/v1/leases/${lease_id}`, { key })
      t.equal(release.status, 204)
    }
  })

  t.test('that is opened again shows that somebody else had it', async (t) => {
    const { lease_id, handle } = await wrap()
    t.equal((await open(lease_id, handle)).status, 200)
    for (const later of [0, 10, 86_400]) {
      broker.clock.advance(later)
      const again = await open(lease_id, handle)
      t.match(again, { status: 409, body: { code: 'already_opened' } })
      t.notMatch(again.text, token)
    }
    const events = await eventsOf(lease_id)
    t.same(
      events.map(({ action }) => action),
      ['lease.opened', 'lease.opened_twice', 'lease.opened_twice', 'lease.opened_twice'],
    )
    t.match(events[1], { organization: 'acme', access_key_id: String, details: { opened_at: String } })
  })

  t.test('opens for one of many who try at once', async (t) => {
    const { lease_id, handle } = await wrap()
    const answers = await Promise.all(Array.from({ length: 10 }, () => open(lease_id, handle)))
    const statuses = answers.map(({ status }) => status).sort()
    t.same(statuses, [200, ...Array.from({ length: 9 }, () => 409)])
  })

  t.test('opens for a minute', async (t) => {
    const { lease_id, handle } = await wrap()
    broker.clock.advance(60)
    t.match(await open(lease_id, handle), { status: 410, body: { code: 'handle_expired' } })
    t.same(await eventsOf(lease_id), [])
  })

  t.test('opens with its own handle alone, and where the lease exists', async (t) => {
    const { lease_id, handle } = await wrap()
    const other = await wrap()
    const plain = await broker.get(byUrl.replace('wrap=true&', ''), { key })
    t.match(await open(lease_id, other.handle), NOT_THERE)
    t.match(await open(plain.body.lease_id, handle), NOT_THERE, 'a lease that is not wrapped')
    t.match(await open(id, handle), NOT_THERE)
    t.equal((await open('no-id', handle)).status, 400)
    t.equal((await open(lease_id, '')).status, 400)
    const limited = async (restrictions: object) =>
      (
        await broker.post('/v1/access-keys', {
          name: 'limited',
          role: 'scanner',
          organizations: ['acme'],
          restrictions,
        })
      ).body.key
    t.match(await open(lease_id, handle, await broker.createKey('scanner', ['globex'])), NOT_THERE)
    t.match(await open(lease_id, handle, await limited({ connections: [lease_id] })), NOT_THERE)
    t.match(await open(lease_id, handle, await limited({ url_prefixes: ['https://gitlab.com'] })), NOT_THERE)
    t.equal((await open(lease_id, handle, await limited({ read_only: true }))).status, 403)
    t.same(await eventsOf(lease_id), [], 'and none of it opened it')

    const worker = (
      await broker.post('/v1/access-keys', { name: 'worker', role: 'scanner', organizations: ['acme'] })
    ).body
    t.equal((await open(lease_id, handle, worker.key)).status, 200)
    const [{ access_key_id } = {}, ...more] = await eventsOf(lease_id)
    t.same([access_key_id, more.length], [worker.id, 0])
    const release = (as: string) => broker.request('DELETE', `/v1/leases/${lease_id}`, { key: as })
    t.equal((await release(key)).status, 404, 'the lease is the worker’s now')
    t.equal((await release(worker.key)).status, 204)
  })

  t.test('goes with the leases that are old', async (t) => {
    broker.clock.advance(400 * 86_400)
    const count = async () =>
      (await broker.db.selectFrom('wrapped_leases').select('lease_id').execute()).length
    t.ok((await count()) > 0)
    await broker.jobs.deleteOld()
    t.equal(await count(), 0)
  })
})

t.test('a token that was replaced before its handle was opened comes in its newer version', async (t) => {
  const stage = await setWrappedStage(t)
  const { broker, simulator, key, byUrl, open } = stage
  const id = await connectByOAuth(stage)
  const wrapped = (await broker.get(byUrl, { key })).body
  const refreshed = await broker.post(`/v1/connections/${id}/refresh?on_conflict=preempt`)
  t.equal(refreshed.body.token_version, 2)
  const opened = await open(wrapped.lease_id, wrapped.handle)
  t.equal(opened.status, 200, opened.text)
  t.equal(simulator.world.tokenState(opened.body.token), 'active')
  t.equal(opened.body.token_version, 2)
  t.not(opened.body.lease_id, wrapped.lease_id, 'with a lease on that')
})
