import fc from 'fast-check'
import t from 'tap'
import { createBrokerClient } from '../../../src/client/index.ts'
import { setStage } from '../../support/broker.ts'
import { connectToken } from '../../support/connect.ts'

/** Fixed, so that a failure comes again. */
const SEED = 16
const RUNS = 40
const SECRET = 'FAKE-secret'

type Result = { token?: string; code?: string; status?: number; errors?: { field: string }[] }

t.test('a malformed request of a batch is answered by its own problem', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const url = `${simulator.url}/acme/web-shop.git`
  const { id, token } = await connectToken(stage)
  const key = await broker.createKey('scanner', ['*'])
  const batch = (body: unknown, headers = {}) =>
    broker.request('POST', '/v1/credentials/batch', { key, body, headers })

  const good = [
    { url, organization: 'acme' },
    { connection_id: id, min_ttl: 60 },
    { url, organization: 'acme', purpose: 'scan 1', on_conflict: 'respect' },
  ]
  /** Each with the field that is at fault; `request` = the entry as a whole. */
  const base = { url, organization: 'acme' }
  const wrongType = fc.constantFrom<unknown>(null, 1, true, [], {}, ['x'])
  type Malformed = [entry: unknown, field: string]
  const malformed = fc.oneof(
    fc.constantFrom<unknown>(null, 1, true, SECRET, [], [base]).map((entry): Malformed => [entry, 'request']),
    fc
      .tuple(fc.constantFrom('url', 'organization', 'purpose', 'on_conflict'), wrongType)
      .map(([field, value]): Malformed => [{ ...base, [field]: value }, field]),
    fc
      .constantFrom<unknown>('60', 0, -1, 1.5, 86_401, null, 1e300)
      .map((value): Malformed => [{ ...base, min_ttl: value }, 'min_ttl']),
    fc
      .constantFrom<unknown>('', 'x', 1, null, id.toUpperCase().slice(1))
      .map((value): Malformed => [{ connection_id: value }, 'connection_id']),
    fc
      .constantFrom('', SECRET, 'ftp://host/a/b', 'x'.repeat(2_049), 'https://', `${url}\0`, '\ud800')
      .map((value): Malformed => [{ ...base, url: value }, 'url']),
    fc
      .constantFrom('Acme', 'a b', '-a', 'x'.repeat(65))
      .map((value): Malformed => [{ ...base, organization: value }, 'organization']),
    fc
      .constantFrom('x'.repeat(201), 'a\0b', '\udc00')
      .map((value): Malformed => [{ ...base, purpose: value }, 'purpose']),
    fc.constantFrom('never', '').map((value): Malformed => [{ ...base, on_conflict: value }, 'on_conflict']),
    fc
      .constantFrom<object>({}, { organization: 'acme' }, { ...base, connection_id: id })
      .map((entry): Malformed => [entry, 'url']),
    fc
      .constantFrom('more', 'URL', SECRET, 'toString', 'a\0', '')
      .map((name): Malformed => [{ ...base, [name]: SECRET }, 'request']),
  )

  await t.test('whatever is wrong, and wherever it stands', async (t) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            malformed,
            fc.constantFrom(...good).map((entry) => [entry, undefined] as const),
          ),
          {
            minLength: 1,
            maxLength: 30,
          },
        ),
        async (entries) => {
          const answer = await batch({ requests: entries.map(([entry]) => entry) })
          t.equal(answer.status, 200, answer.text)
          t.notOk(answer.text.includes(SECRET), 'nothing that was sent is repeated')
          t.equal(answer.body.results.length, entries.length)
          for (const [position, [entry, field]] of entries.entries()) {
            const result: Result = answer.body.results[position]
            const why = JSON.stringify([entry, result])
            if (field === undefined) t.equal(result.token, token, why)
            else t.match(result, { code: 'invalid_request', status: 400, errors: [{ field }] }, why)
          }
        },
      ),
      { seed: SEED, numRuns: RUNS },
    )
  })

  await t.test('one of a thousand fails alone', async (t) => {
    const many = Array.from({ length: 1_000 }, (_, at): unknown => (at === 500 ? { url: 1 } : good[0]))
    const { status, body } = await batch({ requests: many })
    t.equal(status, 200)
    t.same(
      body.results.flatMap((result: Result, at: number) => (result.token === token ? [] : [at])),
      [500],
    )
  })

  await t.test('every fault of one request is named, those of others are not', async (t) => {
    const { body } = await batch({ requests: [{ url: 1, min_ttl: 0, more: 1 }, { purpose: 1 }] })
    const fields = body.results.map(({ errors = [] }: Result) => errors.map(({ field }) => field).sort())
    t.same(fields, [['min_ttl', 'request', 'url'], ['purpose']])
  })

  await t.test('an Idempotency-Key counts for the others', async (t) => {
    const headers = { 'idempotency-key': 'run 1' }
    const requests = [{ url: 1 }, good[0], null]
    const [first, second] = [await batch({ requests }, headers), await batch({ requests }, headers)]
    t.match(first.body.results, [{ code: 'invalid_request' }, { token }, { code: 'invalid_request' }])
    t.equal(first.body.results[1].lease_id, second.body.results[1].lease_id)
    const changed = await batch({ requests: [{ url: 2 }, good[0], null] }, headers)
    t.match(changed, { status: 409, body: { code: 'idempotency_key_reused' } })
  })

  await t.test('what is wrong with the body itself refuses the whole', async (t) => {
    const many = Array.from({ length: 1_001 }, () => good[0])
    const bodies: [unknown, string][] = [
      [[], 'body'],
      ['x', 'body'],
      [{}, 'requests'],
      [{ requests: null }, 'requests'],
      [{ requests: {} }, 'requests'],
      [{ requests: [] }, 'requests'],
      [{ requests: many }, 'requests'],
      [{ requests: good, more: 1 }, 'body'],
      [{ requests: [{ url: 1 }, null], more: 1 }, 'body'],
    ]
    for (const [body, field] of bodies) {
      const answer = await batch(body)
      const why = JSON.stringify(body).slice(0, 100)
      t.match(answer, { status: 400, body: { code: 'invalid_request', errors: [{ field }] } }, why)
      t.equal(answer.body.errors.length, 1, why)
    }
    const long = { 'idempotency-key': 'x'.repeat(256) }
    for (const requests of [good, [null]])
      t.match(await batch({ requests }, long), { status: 400, body: { code: 'invalid_request' } })
    const tooLong = { requests: [{ url: 'x'.repeat(1_048_576) }] }
    t.match(await batch(tooLong), { status: 413, body: { code: 'payload_too_large' } })
  })

  await t.test('the client hands out a problem for each, and a lease for the others', async (t) => {
    const client = createBrokerClient({ baseUrl: broker.url, key, organization: 'acme' })
    const requests = [
      { url },
      null,
      { url: 1 },
      { url, more: 1 },
      'x',
      { url, min_ttl: 0 },
      { connection_id: id },
    ]
    const results = await client.batch(requests as { url: string }[])
    t.match(results, [
      { credential: { token } },
      { code: 'invalid_request', action: 'stop', problem: { errors: [{ field: 'request' }] } },
      { code: 'invalid_request', problem: { errors: [{ field: 'url' }] } },
      { code: 'invalid_request', problem: { errors: [{ field: 'request' }] } },
      { code: 'invalid_request', problem: { errors: [{ field: 'request' }] } },
      { code: 'invalid_request', problem: { errors: [{ field: 'min_ttl' }] } },
      { credential: { token } },
    ])
    for (const result of results) if ('release' in result) await result.release()
  })
})
