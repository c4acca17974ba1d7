import t from 'tap'
import { type Answer, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, HALF_LIFE, lookUp, REFRESH, rowOf } from '../support/lifecycle.ts'

const NOBODY = '019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c'

t.test('a long scan keeps its token', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const scanner = await broker.createKey('scanner', ['*'])
  const other = await broker.createKey('scanner', ['*'])
  t.beforeEach(() => {
    simulator.faults.clear()
    simulator.requests.clear()
  })
  const extend = (answer: Answer, min_ttl: unknown, key = scanner) =>
    broker.post(`/v1/leases/${answer.body.lease_id}/extend`, { min_ttl }, { key })
  const leaseOf = (id: string) =>
    broker.db.selectFrom('leases').selectAll().where('id', '=', id).executeTakeFirstOrThrow()
  const secondsLeft = async (id: string) => ((await leaseOf(id)).expires_at.getTime() - clock()) / 1000

  t.test('with the same version and lease while the token lives long enough', async (t) => {
    const id = await connect(stage)
    const first = await lookUp(stage, id, { min_ttl: 60 }, scanner)
    simulator.requests.clear()
    clock.advance(50)
    const answer = await extend(first, 3_000)
    t.match(answer, {
      status: 200,
      body: { lease_id: first.body.lease_id, token: first.body.token, token_version: 1 },
    })
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.equal(await secondsLeft(first.body.lease_id), 3_000)
    await extend(first, 10)
    t.equal(await secondsLeft(first.body.lease_id), 3_000, 'a shorter wish shortens nothing')
    t.equal(simulator.requests.count(), 0)
  })

  t.test('also past half its life, and past the end of the lease', async (t) => {
    const id = await connect(stage)
    const first = await lookUp(stage, id, { min_ttl: 60 }, scanner)
    clock.advance(HALF_LIFE)
    t.match(await extend(first, 3_000), { body: { lease_id: first.body.lease_id, token_version: 1 } })
    t.equal(simulator.requests.count(REFRESH), 0)
  })

  t.test('with the next version under a new lease, when the token ends too soon', async (t) => {
    const id = await connect(stage)
    const first = await lookUp(stage, id, { min_ttl: 600, purpose: 'scan 7' }, scanner)
    clock.advance(HALF_LIFE)
    const answer = await extend(first, 7_000)
    t.match(answer, { status: 200, body: { token_version: 2 } })
    t.not(answer.body.lease_id, first.body.lease_id)
    t.match(await leaseOf(answer.body.lease_id), { purpose: 'scan 7', released_at: null })
    t.match(await leaseOf(first.body.lease_id), { released_at: new Date(clock()), rejected_at: null })
    t.equal(simulator.requests.count(REFRESH), 1)
    t.equal(simulator.world.tokenState(first.body.token), 'revoked')
    t.match(await extend(first, 60), { status: 409, body: { code: 'lease_ended' } })
  })

  t.test('never by a refresh under the lease of somebody else, two long scans included', async (t) => {
    const id = await connect(stage)
    const first = await lookUp(stage, id, { min_ttl: 7_000 }, scanner)
    const second = await lookUp(stage, id, { min_ttl: 7_000 }, other)
    clock.advance(HALF_LIFE)
    const answers = await Promise.all([extend(first, 7_000), extend(second, 7_000, other)])
    for (const answer of answers) {
      t.match(answer, { status: 409, body: { code: 'token_in_use' } })
      t.ok(Number(answer.headers.get('retry-after')) > 0)
      t.notMatch(answer.body.detail, /preempt/)
    }
    t.match(await leaseOf(first.body.lease_id), { released_at: null }, 'the lease stays')
    t.equal(simulator.requests.count(REFRESH), 0)
    t.equal(simulator.world.tokenState(first.body.token), 'active')
    await broker.request('DELETE', `/v1/leases/${second.body.lease_id}`, { key: other })
    t.match(await extend(first, 7_000), { status: 200, body: { token_version: 2 } })
  })

  t.test('gets the version that others had made meanwhile', async (t) => {
    const id = await connect(stage)
    const first = await lookUp(stage, id, { min_ttl: 60 }, scanner)
    clock.advance(HALF_LIFE)
    t.match(await lookUp(stage, id, { min_ttl: 60 }, other), { body: { token_version: 2 } })
    simulator.requests.clear()
    t.match(await extend(first, 60), { status: 200, body: { token_version: 2 } })
    t.equal(simulator.requests.count(REFRESH), 0)
  })

  t.test('keeps its lease when GitLab is away or has no longer token', async (t) => {
    const id = await connect(stage)
    const first = await lookUp(stage, id, { min_ttl: 7_000 }, scanner)
    clock.advance(HALF_LIFE)
    simulator.faults.add({ match: REFRESH, times: Infinity, effect: { kind: 'status', status: 503 } })
    t.match(await extend(first, 7_000), { status: 503, body: { code: 'gitlab_unavailable' } })
    t.match(await leaseOf(first.body.lease_id), { released_at: null })
    t.match(await extend(first, 60), { status: 200, body: { token_version: 1 } })

    const expiresAt = new Date(clock() + 2 * 86_400_000).toISOString().slice(0, 10)
    const pasted = await connectToken(stage, { organization: 'short', expiresAt })
    const short = await lookUp(stage, pasted.id, {}, scanner)
    clock.advance(86_400)
    t.match(await extend(short, 86_400), { status: 422, body: { code: 'min_ttl_unattainable' } })
    t.match(await leaseOf(short.body.lease_id), { released_at: null })
  })

  t.test('by whoever got it alone', async (t) => {
    const id = await connect(stage)
    const first = await lookUp(stage, id, {}, scanner)
    const elsewhere = await broker.createKey('scanner', ['nowhere'])
    for (const key of [other, elsewhere])
      t.match(await extend(first, 60, key), { status: 404, body: { code: 'not_found' } })
    t.match(await extend({ ...first, body: { lease_id: NOBODY } }, 60), { status: 404 })
    await broker.db.updateTable('connections').set({ status: 'revoked' }).where('id', '=', id).execute()
    t.match(await extend(first, 60), { status: 409, body: { code: 'connection_revoked' } })
    t.match(await rowOf(stage, id), { token_version: 1 })
  })

  t.test('asks for a number of seconds and nothing else', async (t) => {
    const first = await lookUp(stage, await connect(stage), {}, scanner)
    for (const min_ttl of [undefined, 0, -1, 1.5, '60', null, 86_401, [60]])
      t.match(await extend(first, min_ttl), { status: 400, body: { code: 'invalid_request' } }, `${min_ttl}`)
    const path = `/v1/leases/${first.body.lease_id}/extend`
    t.match(await broker.post(path, { min_ttl: 60, more: 1 }, { key: scanner }), { status: 400 })
    t.match(await broker.post(path, undefined, { key: scanner }), { status: 400 })
    t.match(await broker.post('/v1/leases/x/extend', { min_ttl: 60 }, { key: scanner }), { status: 400 })
  })
})

t.test('many leases are released by one request', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const scanner = await broker.createKey('scanner', ['*'])
  const other = await broker.createKey('scanner', ['*'])
  const id = (await connectToken(stage)).id
  const leaseId = async (key: string) => (await lookUp(stage, id, {}, key)).body.lease_id as string
  const release = (ids: unknown, key = scanner) =>
    broker.request('DELETE', '/v1/leases', { key, body: { ids } })

  const own = [await leaseId(scanner), await leaseId(scanner)]
  const foreign = await leaseId(other)
  const answer = await release([...own, foreign, NOBODY, own[0]])
  t.match(answer, { status: 200, body: { released: own, not_found: [foreign, NOBODY] } })
  t.match(await release(own), { body: { released: own, not_found: [] } }, 'twice does no harm')
  const rows = await broker.db.selectFrom('leases').select('id').where('released_at', 'is', null).execute()
  t.same(rows, [{ id: foreign }])
  t.match(await release([foreign], 'FAKE-admin-key-0123456789-0123456789'), { body: { released: [foreign] } })

  const many = Array.from({ length: 1_000 }, () => NOBODY)
  t.match(await release(many), { status: 200, body: { not_found: [NOBODY] } })
  for (const ids of [[], 'x', ['x'], [null], undefined, [...many, NOBODY]])
    t.match(await release(ids), { status: 400, body: { code: 'invalid_request' } })
})
