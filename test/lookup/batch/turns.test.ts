import { once } from 'node:events'
import { request } from 'node:http'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { PreparedStatement, RunPrepared } from '../../../src/db/database.ts'
import { setStage } from '../../support/broker.ts'
import { connectToken } from '../../support/connect.ts'
import { createTestDatabase } from '../../support/database.ts'
import { until } from '../../support/lifecycle.ts'

/** Position of the purposes among the values of a statement that leases. */
const PURPOSES = 8

/** A broker whose statements that lease wait for `open`, but for the first ones, and the purposes of the lookups in each. */
const setGate = async (t: Test, { first = 0 } = {}) => {
  const database = await createTestDatabase(t)
  const gate = Promise.withResolvers<void>()
  const leased: string[][] = []
  const runPrepared: RunPrepared = async <Row>(statement: PreparedStatement, values: unknown[]) => {
    if (statement.name.startsWith('lease-')) {
      leased.push(values[PURPOSES] as string[])
      if (leased.length > first) await gate.promise
    }
    return database.runPrepared<Row>(statement, values)
  }
  const stage = await setStage(t, { broker: { database: { ...database, runPrepared } } })
  const { broker } = stage
  const { id } = await connectToken(stage, { group: 'acme' })
  const key = await broker.createKey('scanner', ['acme'])
  const url = `${stage.simulator.url}/acme/web-shop.git`
  const leases = () => broker.db.selectFrom('leases').select(['id', 'released_at']).execute()
  /** Sends a batch on a connection of its own; what is returned hangs up, until the broker has noticed. */
  const callAndHangUp = async (requests: object[], headers: Record<string, string> = {}) => {
    const connected = once(broker.app.server, 'connection')
    const calling = request(`${broker.url}/v1/credentials/batch`, {
      method: 'POST',
      agent: false,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
    })
    calling.on('error', () => undefined)
    calling.end(JSON.stringify({ requests }))
    const [socket] = (await connected) as [Socket]
    return async () => {
      const closed = once(socket, 'close')
      calling.destroy()
      await closed
    }
  }
  return { broker, id, key, url, leased, leases, callAndHangUp, open: () => gate.resolve() }
}

for (const by of ['id', 'URL'] as const)
  t.test(`a single lookup by ${by} does not wait until all that batches ask for is leased`, async (t) => {
    const { broker, id, key, url, leased, open } = await setGate(t)
    const lookup = by === 'id' ? { connection_id: id } : { url }
    const single = new URLSearchParams({ purpose: 'single', ...(by === 'id' ? {} : { url }) })
    const path = by === 'id' ? `/v1/connections/${id}/credential` : '/v1/credentials'
    const requests = Array.from({ length: 1_000 }, () => ({ ...lookup, purpose: 'many' }))
    /** What was sent before has been read by then. */
    const untilRead = async () => {
      for (let turn = 0; turn < 10; turn += 1) await broker.get('/healthz')
    }
    const batches = [1, 2, 3, 4].map(() => broker.post('/v1/credentials/batch', { requests }, { key }))
    await until(() => leased.length > 0)
    await untilRead()
    const answer = broker.get(`${path}?${single}`, { key })
    await untilRead()
    open()
    t.equal((await answer).status, 200)
    const at = leased.findIndex((purposes) => purposes.includes('single'))
    const before = leased.slice(0, at).flat().length
    t.ok(before <= 1_000, `${before} of 4,000 were leased before`)
    for (const { status, body } of await Promise.all(batches)) {
      t.equal(status, 200)
      t.ok(body.results.every((result: { token?: string }) => typeof result.token === 'string'))
    }
  })

t.test('for a caller who hung up nothing more is leased, and what was leased is given back', async (t) => {
  const { broker, id, leased, leases, callAndHangUp, open } = await setGate(t, { first: 1 })
  const hangUp = await callAndHangUp(Array.from({ length: 1_000 }, () => ({ connection_id: id })))
  await until(() => leased.length > 1)
  await until(async () => (await leases()).length > 0)
  await hangUp()
  open()
  await until(async () => {
    const given = await leases()
    return given.length === leased.flat().length && given.every(({ released_at }) => released_at !== null)
  })
  t.ok(leased.flat().length <= 400, `${leased.flat().length} of 1,000`)
  t.notMatch(broker.logLines.join(''), /unexpected error/)
})

t.test('a repeated request takes nothing from the first answer when its caller hangs up', async (t) => {
  const { broker, id, key, leases, callAndHangUp, open } = await setGate(t)
  open()
  const requests = Array.from({ length: 1_000 }, () => ({ connection_id: id }))
  const headers = { 'idempotency-key': 'nightly' }
  const ask = () => broker.post('/v1/credentials/batch', { requests }, { key, headers })
  const idsOf = ({ body }: Awaited<ReturnType<typeof ask>>) =>
    body.results.map(({ lease_id }: { lease_id: string }) => lease_id)
  const first = idsOf(await ask())
  const isClaimed = async () =>
    (await broker.db.selectFrom('lease_batches').select('claimed_until').executeTakeFirstOrThrow())
      .claimed_until !== null
  t.notOk(await isClaimed())
  const hangUp = await callAndHangUp(requests, headers)
  await until(isClaimed)
  await hangUp()
  await until(async () => !(await isClaimed()))
  t.strictSame(idsOf(await ask()), first)
  t.ok((await leases()).every(({ released_at }) => released_at === null))
  t.equal((await leases()).length, 1_000)
})
