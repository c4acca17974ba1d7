import { createLocalJWKSet, jwtVerify } from 'jose'
import t from 'tap'
import { deleteOld } from '../../src/leases/delete-old.ts'
import { noteLeaseSlots } from '../../src/leases/record/slots.ts'
import { ADMIN_KEY, type Stage, setStage, startTestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, OUT } from '../support/lifecycle.ts'

type Lease = Record<string, unknown> & { id: string }

const makeKey = async ({ broker }: Stage, role: string, organizations: string[]) => {
  const { body } = await broker.post('/v1/access-keys', { name: role, role, organizations })
  return body as { id: string; key: string }
}

t.test('GET /v1/leases', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const start = new Date(clock())
  const scanner = await makeKey(stage, 'scanner', ['acme'])
  const other = await makeKey(stage, 'scanner', ['*'])
  const acme = await connectToken(stage, { organization: 'acme' })
  const globex = await connectToken(stage, { organization: 'globex' })
  for (const [id, key] of [
    [acme.id, scanner.key],
    [acme.id, other.key],
    [globex.id, other.key],
    [acme.id, scanner.key],
  ] as const) {
    clock.advance(60)
    t.equal((await lookUp(stage, id, { purpose: 'scan 7' }, key)).status, 200)
  }
  const list = (query: string, key = ADMIN_KEY) => broker.get(`/v1/leases${query}`, { key })
  const shown = ({ body }: { body: { items: Lease[] } }) =>
    body.items.map(
      ({ organization, access_key_id }) => `${organization} ${access_key_id === scanner.id ? 1 : 2}`,
    )

  t.test('says which token went to whom, the newest first', async (t) => {
    const answer = await list('')
    t.same(shown(answer), ['acme 1', 'globex 2', 'acme 2', 'acme 1'])
    t.match(answer.body.items[1], {
      connection_id: globex.id,
      access_key_id: other.id,
      token_version: 1,
      purpose: 'scan 7',
      granted_at: new Date(start.getTime() + 180_000).toISOString(),
      released_at: null,
      rejected_at: null,
    })
    t.notMatch(answer.text, globex.token)
  })

  t.test('filters by organization, connection, key and time', async (t) => {
    const at = (seconds: number) =>
      encodeURIComponent(new Date(start.getTime() + seconds * 1000).toISOString())
    t.same(shown(await list('?organization=globex')), ['globex 2'])
    t.same(shown(await list(`?connection_id=${acme.id}`)), ['acme 1', 'acme 2', 'acme 1'])
    t.same(shown(await list(`?access_key_id=${other.id}`)), ['globex 2', 'acme 2'])
    t.same(shown(await list(`?from=${at(120)}&to=${at(240)}`)), ['globex 2', 'acme 2'])
    t.same(shown(await list(`?organization=acme&access_key_id=${other.id}&from=${at(121)}`)), [])
  })

  t.test('shows an admin of some organizations theirs alone', async (t) => {
    const admin = await makeKey(stage, 'admin', ['globex', 'initech'])
    t.same(shown(await list('', admin.key)), ['globex 2'])
    t.same(shown(await list(`?connection_id=${acme.id}`, admin.key)), [])
    t.equal((await list('?organization=acme', admin.key)).status, 404)
    t.equal((await list('', scanner.key)).status, 403)
  })

  t.test('gives every lease once, page by page, also those of the same moment', async (t) => {
    await Promise.all(Array.from({ length: 5 }, () => lookUp(stage, acme.id, {}, scanner.key)))
    const whole = (await list('?limit=100')).body.items.map(({ id }: Lease) => id)
    t.equal(whole.length, 9)
    const seen: string[] = []
    let cursor: string | null = null
    do {
      const page: { body: { items: Lease[]; next_cursor: string | null } } = await list(
        `?limit=2${cursor ? `&cursor=${cursor}` : ''}`,
      )
      seen.push(...page.body.items.map(({ id }) => id))
      cursor = page.body.next_cursor
    } while (cursor)
    t.same(seen, whole)
  })

  t.test('refuses what is no filter', async (t) => {
    for (const query of ['?cursor=FAKE', '?from=now', '?access_key_id=7', '?purpose=x'])
      t.match(await list(query), { status: 400, body: { code: 'invalid_request' } }, query)
  })
})

t.test('a receipt proves what was handed out', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const scanner = await makeKey(stage, 'scanner', ['*'])
  const receiptOf = (lease: string, key = scanner.key) => broker.get(`/v1/leases/${lease}/receipt`, { key })
  const readKeys = async () => {
    const answer = await broker.get('/.well-known/jwks.json', { key: null })
    t.equal(answer.status, 200)
    return answer.body as { keys: Record<string, string>[] }
  }
  const check = async (receipt: string) =>
    jwtVerify(receipt, createLocalJWKSet(await readKeys()), {
      typ: 'lease-receipt+jwt',
      issuer: broker.url,
      currentDate: new Date(clock()),
    })
  const id = await connect(stage)
  const { body: credential } = await lookUp(stage, id, { purpose: 'scan 7' }, scanner.key)

  t.test('to whoever has the public key', async (t) => {
    const answer = await receiptOf(credential.lease_id)
    t.equal(answer.status, 200)
    t.notMatch(answer.text, credential.token)
    const { payload, protectedHeader } = await check(answer.body.receipt)
    t.equal(protectedHeader.alg, 'ES256')
    t.match(payload, {
      jti: credential.lease_id,
      lease_id: credential.lease_id,
      connection_id: id,
      organization: credential.organization,
      instance: simulator.url,
      token_version: 1,
      token_hash: /^[0-9a-f]{64}$/,
      access_key_id: scanner.id,
      purpose: 'scan 7',
      granted_at: new Date(clock()).toISOString(),
      expires_at: /Z$/,
    })
    const events = await broker.get(`/v1/audit-events?connection_id=${id}`)
    t.equal(payload.token_hash, events.body.items[0].token_hash, 'the same hash as in the record')
    const { receipt } = answer.body
    await t.rejects(check(`${receipt.slice(0, 40)}${receipt[40] === 'A' ? 'B' : 'A'}${receipt.slice(41)}`))
  })

  t.test('the published keys hold nothing private', async (t) => {
    const { keys } = await readKeys()
    t.same(
      keys.map((key) => Object.keys(key).sort()),
      [['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']],
    )
  })

  t.test('also of a token that was replaced since, and of a connection that is gone', async (t) => {
    const first = (await check((await receiptOf(credential.lease_id)).body.receipt)).payload
    clock.advance(OUT)
    const { body: next } = await lookUp(stage, id, {}, scanner.key)
    t.equal(next.token_version, 2)
    await broker.request('DELETE', `/v1/connections/${id}?revoke=false`)
    for (const [lease, version] of [
      [credential.lease_id, 1],
      [next.lease_id, 2],
    ]) {
      const { payload } = await check((await receiptOf(lease)).body.receipt)
      t.match(payload, { token_version: version, token_hash: /^[0-9a-f]{64}$/, instance: simulator.url })
      if (version === 1) t.equal(payload.token_hash, first.token_hash)
    }
  })

  t.test('to the key that got the token, and to managers of its organization; to nobody else', async (t) => {
    const pasted = await connectToken(stage, { organization: 'acme' })
    const { body } = await lookUp(stage, pasted.id, {}, scanner.key)
    for (const [role, organizations, status] of [
      ['scanner', ['*'], 404],
      ['manager', ['globex'], 404],
      ['manager', ['acme'], 200],
      ['admin', ['*'], 200],
    ] as const) {
      const { key } = await makeKey(stage, role, [...organizations])
      t.equal((await receiptOf(body.lease_id, key)).status, status, `${role} of ${organizations}`)
    }
    t.equal((await receiptOf('019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c')).status, 404)
    t.equal((await receiptOf('7')).status, 400)
  })

  t.test('replicas share the key', async (t) => {
    const second = await startTestBroker(t, { database: broker.database, clock })
    const keys = await second.get('/.well-known/jwks.json', { key: null })
    t.same(keys.body, await readKeys())
  })
})

for (const embedded of [false, true])
  t.test(
    `leases are found before and after they are noted, ${embedded ? 'embedded' : 'on PostgreSQL'}`,
    async (t) => {
      const stage = await setStage(t, { broker: { embedded } })
      const { broker } = stage
      const one = await connectToken(stage, { organization: 'acme' })
      const other = await connectToken(stage, { organization: 'globex' })
      for (const { id } of [one, other, one]) await lookUp(stage, id)
      const read = async () => {
        const lists = await Promise.all(
          ['', '?organization=acme', '?organization=globex', `?connection_id=${one.id}`, '?limit=2'].map(
            (query) => broker.get(`/v1/leases${query}`),
          ),
        )
        return lists.map(({ body }) => body.items.map(({ id }: Lease) => id))
      }
      const before = await read()
      t.same(
        before.map(({ length }) => length),
        [3, 2, 1, 2, 2],
      )
      const later = new Date(Date.now() + 3_600_000)
      await noteLeaseSlots(broker.db, { now: later })
      await noteLeaseSlots(broker.db, { now: later })
      const slots = await broker.db.selectFrom('lease_slots').selectAll().execute()
      t.same(new Set(slots.map(({ organization }) => organization)), new Set(['acme', 'globex']))
      t.same(await read(), before)
      await broker.jobs.noteLeaseSlots()
      await deleteOld(broker.db, 1, new Date(Date.now() + 2 * 86_400_000))
      t.same(await broker.db.selectFrom('lease_slots').selectAll().execute(), [])
    },
  )
