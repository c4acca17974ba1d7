import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { setStage } from '../../support/broker.ts'
import { connectToken } from '../../support/connect.ts'
import { connect, OUT, REFRESH, until } from '../../support/lifecycle.ts'

t.test('many credentials at once', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const scanner = await broker.createKey('scanner', ['*'])
  t.beforeEach(() => {
    simulator.faults.clear()
    simulator.requests.clear()
  })
  const url = `${simulator.url}/acme/web-shop.git`
  const batch = (requests: unknown, headers: Record<string, string> = {}, key = scanner) =>
    broker.request('POST', '/v1/credentials/batch', { key, body: { requests }, headers })
  const leases = async () =>
    (await broker.db.selectFrom('leases').select('id').where('released_at', 'is', null).execute()).length
  const { id, token } = await connectToken(stage)

  t.test('are answered in order, each by its credential or its problem', async (t) => {
    const answer = await batch([
      { url, organization: 'acme', min_ttl: 60, purpose: 'scan 1' },
      { url: 'https://nowhere.example/a/b', organization: 'acme' },
      { connection_id: id },
      { connection_id: uuidv7() },
      { url: 'no url', organization: 'acme' },
      { url },
      {},
      { url, connection_id: id },
      { url, organization: 'acme', min_ttl: 86_400 },
    ])
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('cache-control'), 'no-store')
    const problem = (code: string, status: number) => ({ code, status, request_id: String, detail: String })
    t.match(answer.body.results, [
      { token, connection_id: id, token_version: 1, organization: 'acme' },
      problem('no_connection_for_url', 404),
      { token },
      problem('not_found', 404),
      problem('invalid_request', 400),
      problem('organization_required', 400),
      problem('invalid_request', 400),
      problem('invalid_request', 400),
      { token },
    ])
    const held = answer.body.results.flatMap(({ lease_id = [] }) => lease_id)
    t.equal(new Set(held).size, 3, 'each with a lease of its own')
    await broker.request('DELETE', '/v1/leases', { key: scanner, body: { ids: held } })
    t.equal(await leases(), 0)
  })

  t.test('a thousand of them share a few statements', async (t) => {
    const before = broker.logLines.length
    const many = Array.from({ length: 1_000 }, () => ({ url, organization: 'acme' }))
    const { status, body } = await batch(many)
    t.equal(status, 200)
    t.equal(body.results.filter((result: { token?: string }) => result.token === token).length, 1_000)
    t.equal(await leases(), 1_000)
    t.equal(simulator.requests.count(), 0)
    t.ok(broker.logLines.length - before < 50)
    await broker.db
      .updateTable('leases')
      .set({ released_at: new Date(clock()) })
      .execute()
    t.match(await batch([...many, ...many]), { status: 400, body: { code: 'invalid_request' } })
  })

  t.test('of dead tokens are refreshed side by side, once for each connection', async (t) => {
    const ids = await Promise.all(Array.from({ length: 5 }, () => connect(stage)))
    clock.advance(OUT)
    simulator.requests.clear()
    const { body } = await batch([...ids, ...ids].map((connection_id) => ({ connection_id })))
    for (const result of body.results) t.match(result, { token_version: 2 })
    t.equal(simulator.requests.count(REFRESH), 5)
  })

  t.test(
    'keep the deadline of the caller; what was begun goes on, and its lease is given back',
    async (t) => {
      const slow = await connect(stage)
      clock.advance(OUT)
      const answered = Promise.withResolvers<void>()
      simulator.faults.add({ match: REFRESH, effect: { kind: 'hold', until: answered.promise } })
      const before = await leases()
      const start = performance.now()
      const answer = await batch([{ connection_id: slow }, { url, organization: 'acme' }], {
        prefer: 'respond-async, wait=0',
      })
      t.ok(performance.now() - start < 10_000)
      t.equal(answer.headers.get('preference-applied'), 'wait=0')
      t.match(answer.body.results, [{ code: 'deadline_passed', status: 503, retry_after: 5 }, { token }])
      answered.resolve()
      const versionOf = () =>
        broker.db
          .selectFrom('connections')
          .select('token_version')
          .where('id', '=', slow)
          .executeTakeFirstOrThrow()
      await until(async () => (await versionOf()).token_version === 2)
      await until(async () => (await leases()) === before + 1)
      t.match((await batch([{ connection_id: slow }])).body.results, [{ token_version: 2 }])
    },
  )

  t.test('with an Idempotency-Key get the same leases again, and try again what had failed', async (t) => {
    const requests = [
      { url, organization: 'acme' },
      { url, organization: 'later' },
    ]
    const key = { 'idempotency-key': 'run 7' }
    const first = await batch(requests, key)
    t.match(first.body.results, [{ token }, { code: 'no_connection_for_url' }])
    const count = await leases()
    const later = await connectToken(stage, { organization: 'later' })
    const second = await batch(requests, key)
    t.match(second.body.results, [
      { lease_id: first.body.results[0].lease_id, token },
      { token: later.token },
    ])
    t.equal(await leases(), count + 1)
    const third = await batch(requests, key)
    t.same(third.body.results.map(leaseIdOf), second.body.results.map(leaseIdOf))

    const lease = second.body.results[0].lease_id
    await broker.request('DELETE', `/v1/leases/${lease}`, { key: scanner })
    const fourth = await batch(requests, key)
    t.not(leaseIdOf(fourth.body.results[0]), lease, 'a released lease is not given again')
    t.equal(leaseIdOf(fourth.body.results[1]), leaseIdOf(third.body.results[1]))
    clock.advance(400)
    const late = await batch(requests, key)
    t.not(leaseIdOf(late.body.results[1]), leaseIdOf(third.body.results[1]), 'nor one that ended')

    t.match(await batch(requests.slice(1), key), { status: 409, body: { code: 'idempotency_key_reused' } })
    const other = await broker.createKey('scanner', ['*'])
    const foreign = await batch(requests.slice(1), key, other)
    t.match(foreign, { status: 200 }, 'keys are per caller')
    const rows = await broker.db.selectFrom('lease_batches').selectAll().execute()
    t.equal(rows.length, 2)
    t.notMatch(JSON.stringify(rows), /run 7|glpat/)
  })

  t.test('with the same key at the same time: one is answered, the other told to wait', async (t) => {
    const slow = await connect(stage)
    clock.advance(OUT)
    const answered = Promise.withResolvers<void>()
    simulator.faults.add({ match: REFRESH, effect: { kind: 'hold', until: answered.promise } })
    const key = { 'idempotency-key': 'run 8' }
    const requests = [{ connection_id: slow }]
    const first = batch(requests, key)
    await until(() => simulator.requests.count(REFRESH) > 0)
    const second = await batch(requests, key)
    t.match(second, { status: 409, body: { code: 'batch_in_progress' } })
    t.equal(second.headers.get('retry-after'), '2')
    answered.resolve()
    const { body } = await first
    t.match(body.results, [{ token_version: 2 }])
    t.same((await batch(requests, key)).body.results.map(leaseIdOf), body.results.map(leaseIdOf))
    // A process that died left its claim.
    await broker.db
      .updateTable('lease_batches')
      .set({ lease_ids: null, claimed_until: new Date(clock() - 1) })
      .execute()
    t.match((await batch(requests, key)).body.results, [{ token_version: 2 }])
  })

  t.test('name what is wrong with the request as a whole', async (t) => {
    for (const requests of [undefined, [], 'x'])
      t.match(await batch(requests), { status: 400, body: { code: 'invalid_request' } })
    t.match(await batch([{ url }], { 'idempotency-key': 'x'.repeat(256) }), { status: 400 })
    t.match(await batch([{ url }], {}, 'gtb_scn_FAKE'), { status: 401 })
  })

  t.test('stay within what a key is limited to', async (t) => {
    const limited = await broker.post('/v1/access-keys', {
      name: 'limited',
      role: 'scanner',
      organizations: ['acme'],
      restrictions: { url_prefixes: [`${simulator.url}/acme`] },
    })
    const { body } = await batch(
      [
        { url },
        { url: `${simulator.url}/globex/site` },
        { connection_id: id },
        { url, organization: 'later' },
      ],
      {},
      limited.body.key,
    )
    t.match(body.results, [
      { token },
      { code: 'no_connection_for_url' },
      { code: 'not_found' },
      { code: 'not_found' },
    ])
  })
})

const leaseIdOf = ({ lease_id }: { lease_id?: string }): string | undefined => lease_id
