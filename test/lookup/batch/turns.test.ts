import { request } from 'node:http'
import t, { type Test } from 'tap'
import type { PreparedStatement, RunPrepared } from '../../../src/db/database.ts'
import { setStage } from '../../support/broker.ts'
import { connectToken } from '../../support/connect.ts'
import { createTestDatabase } from '../../support/database.ts'
import { until } from '../../support/lifecycle.ts'

/** Position of the purposes among the values of a statement that leases. */
const PURPOSES = 8

/** A broker whose statements that lease wait for `open`, and the purposes of the lookups in each of them. */
const setGate = async (t: Test) => {
  const database = await createTestDatabase(t)
  const gate = Promise.withResolvers<void>()
  const leased: string[][] = []
  const runPrepared: RunPrepared = async <Row>(statement: PreparedStatement, values: unknown[]) => {
    if (statement.name.startsWith('lease-')) {
      leased.push(values[PURPOSES] as string[])
      await gate.promise
    }
    return database.runPrepared<Row>(statement, values)
  }
  const stage = await setStage(t, { broker: { database: { ...database, runPrepared } } })
  const { id } = await connectToken(stage, { group: 'acme' })
  const key = await stage.broker.createKey('scanner', ['acme'])
  const url = `${stage.simulator.url}/acme/web-shop.git`
  return { stage, id, key, url, leased, open: () => gate.resolve() }
}

for (const by of ['id', 'URL'] as const)
  t.test(`a single lookup by ${by} does not wait until all that batches ask for is leased`, async (t) => {
    const { stage, id, key, url, leased, open } = await setGate(t)
    const { broker } = stage
    const lookup = by === 'id' ? { connection_id: id } : { url }
    const single = new URLSearchParams({ purpose: 'single', ...(by === 'id' ? {} : { url }) })
    const path = by === 'id' ? `/v1/connections/${id}/credential` : '/v1/credentials'
    const requests = Array.from({ length: 1_000 }, () => ({ ...lookup, purpose: 'many' }))
    const batches = [1, 2, 3, 4].map(() => broker.post('/v1/credentials/batch', { requests }, { key }))
    await until(() => leased.length > 0)
    const answer = broker.get(`${path}?${single}`, { key })
    open()
    t.equal((await answer).status, 200)
    const at = leased.findIndex((purposes) => purposes.includes('single'))
    const before = leased.slice(0, at).flat().length
    t.ok(before < 2_000, `${before} of 4,000 were leased before`)
    for (const { status, body } of await Promise.all(batches)) {
      t.equal(status, 200)
      t.ok(body.results.every((result: { token?: string }) => typeof result.token === 'string'))
    }
  })

t.test(
  'what a caller who hung up has not got yet is not leased for it, and what comes is given back',
  async (t) => {
    const { stage, id, key, leased, open } = await setGate(t)
    const { broker } = stage
    const server = broker.app.server
    const connections = () =>
      new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)))
    const before = await connections()
    const calling = request(`${broker.url}/v1/credentials/batch`, {
      method: 'POST',
      agent: false,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    })
    calling.on('error', () => undefined)
    calling.end(JSON.stringify({ requests: Array.from({ length: 1_000 }, () => ({ connection_id: id })) }))
    await until(() => leased.length > 0)
    calling.destroy()
    await until(async () => (await connections()) <= before)
    open()
    const given = async () => await broker.db.selectFrom('leases').select('released_at').execute()
    await until(async () => {
      const leases = await given()
      return leases.length > 0 && leases.every(({ released_at }) => released_at !== null)
    })
    t.equal((await given()).length, leased.flat().length)
    t.ok(leased.flat().length <= 200, `${leased.flat().length} of 1,000`)
  },
)
