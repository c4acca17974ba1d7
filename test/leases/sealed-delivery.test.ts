import { compactDecrypt, decodeProtectedHeader, exportJWK, generateKeyPair } from 'jose'
import t, { type Test } from 'tap'
import { setStage, type TestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { ACME_RULE, startIssuer, trustIssuer } from '../support/issuer.ts'

const JOSE = { accept: 'application/jose' }
const KINDS = [
  { alg: 'ECDH-ES+A256KW', crv: 'P-256' },
  { alg: 'ECDH-ES', crv: 'P-256' },
  { alg: 'ECDH-ES+A256KW', crv: 'X25519' },
  { alg: 'RSA-OAEP-256' },
]

const makePair = async (
  { alg, crv }: { alg: string; crv?: string } = { alg: 'ECDH-ES+A256KW', crv: 'X25519' },
) => {
  const pair = await generateKeyPair(alg, { extractable: true, ...(crv ? { crv } : {}) })
  return {
    jwk: { ...(await exportJWK(pair.publicKey)), alg, kid: 'mine' },
    privateJwk: await exportJWK(pair.privateKey),
    open: async (jwe: string) => {
      const { plaintext } = await compactDecrypt(jwe, pair.privateKey)
      return JSON.parse(new TextDecoder().decode(plaintext))
    },
  }
}

const create = (broker: TestBroker, more: object = {}) =>
  broker.post('/v1/access-keys', { name: 'sealed', role: 'scanner', organizations: ['acme'], ...more })

const setSealedStage = async (t: Test) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const connected = await connectToken(stage)
  const byUrl = `/v1/credentials?url=${simulator.url}/acme/web-shop`
  return { ...stage, ...connected, byUrl, byId: `/v1/connections/${connected.id}/credential` }
}

const leaseCount = async ({ db }: TestBroker) => (await db.selectFrom('leases').select('id').execute()).length

t.test('a credential comes encrypted for the key of the caller', async (t) => {
  const { broker, byUrl, byId, token } = await setSealedStage(t)
  for (const kind of KINDS) {
    const pair = await makePair(kind)
    const { body, status } = await create(broker, { encryption_key: pair.jwk })
    t.equal(status, 201)
    t.same(body.encryption_key, pair.jwk)
    for (const path of [byUrl, byId]) {
      const answer = await broker.get(path, { key: body.key, headers: JOSE })
      t.equal(answer.status, 200, answer.text)
      t.equal(answer.headers.get('content-type'), 'application/jose')
      t.equal(answer.headers.get('cache-control'), 'no-store')
      t.match(decodeProtectedHeader(answer.text), { alg: kind.alg, enc: 'A256GCM', kid: 'mine', cty: 'json' })
      t.notMatch(answer.text, token)
      const credential = await pair.open(answer.text)
      const plain = await broker.get(path, { key: body.key })
      t.match(plain.headers.get('content-type'), /^application\/json/)
      const { lease_id: _, ...rest } = plain.body
      t.match(credential, { ...rest, token })
    }
  }
})

t.test('what is accepted decides, and a key without one cannot have it', async (t) => {
  const { broker, byId } = await setSealedStage(t)
  const pair = await makePair()
  const sealing = (await create(broker, { encryption_key: pair.jwk })).body.key
  const plain = (await create(broker)).body.key
  const typeOf = async (key: string, accept: string) => {
    const { status, headers } = await broker.get(byId, { key, headers: { accept } })
    return status === 200 ? headers.get('content-type')?.split(';')[0] : status
  }
  const table: [accept: string, withKey: string, without: string | number][] = [
    ['application/jose', 'application/jose', 406],
    ['Application/JOSE;q=0.5', 'application/jose', 406],
    ['application/json, application/jose', 'application/jose', 'application/json'],
    ['application/jose, */*;q=0.1', 'application/jose', 'application/json'],
    ['application/jose;q=0, application/json', 'application/json', 'application/json'],
    ['application/jose+json', 'application/json', 'application/json'],
    ['*/*', 'application/json', 'application/json'],
  ]
  for (const [accept, withKey, without] of table) {
    t.equal(await typeOf(sealing, accept), withKey, accept)
    t.equal(await typeOf(plain, accept), without, accept)
  }
  const before = await leaseCount(broker)
  t.match(await broker.get(byId, { key: plain, headers: JOSE }), { body: { code: 'no_encryption_key' } })
  t.equal(await leaseCount(broker), before)
})

t.test('a key that takes sealed answers only gets no other', async (t) => {
  const { broker, byUrl, byId, token, simulator } = await setSealedStage(t)
  const pair = await makePair()
  const { body } = await create(broker, { encryption_key: pair.jwk, require_sealed: true })
  const { key } = body
  const REFUSED = { status: 406, body: { code: 'sealed_answer_required' } }
  for (const path of [byUrl, byId])
    for (const headers of [{}, { accept: '*/*' }, { accept: 'application/json' }])
      t.match(await broker.get(path, { key, headers }), REFUSED)
  t.equal(await leaseCount(broker), 0)

  const leased = await pair.open((await broker.get(byUrl, { key, headers: JOSE })).text)
  const reject = (headers: Record<string, string>) =>
    broker.post(`/v1/leases/${leased.lease_id}/rejection`, undefined, { key, headers })
  t.match(await reject({}), REFUSED)
  await broker.db.updateTable('leases').set({ token_version: 0 }).execute()
  const newer = await reject(JOSE)
  t.equal((await pair.open(newer.text)).token, token, 'a report is answered sealed too')

  t.test('nor does a workload whose rule says so, by token exchange neither', async (t) => {
    const issuer = await startIssuer(t, broker.clock)
    const rules = [{ ...ACME_RULE, encryption_key: pair.jwk, require_sealed: true }]
    t.equal((await trustIssuer(broker, issuer, { rules })).status, 201)
    const jwt = await issuer.sign()
    t.match(await broker.get(byUrl, { key: jwt }), REFUSED)
    const sealed = await broker.get(byUrl, { key: jwt, headers: JOSE })
    t.equal((await pair.open(sealed.text)).token, token)
    const before = await leaseCount(broker)
    const exchanged = await broker.request('POST', '/v1/token', {
      key: null,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      rawBody: new URLSearchParams({
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: jwt,
        subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
        resource: `${simulator.url}/acme/web-shop`,
      }).toString(),
    })
    t.match(exchanged, {
      status: 400,
      body: { error: 'unauthorized_client', code: 'sealed_answer_required' },
    })
    t.equal(await leaseCount(broker), before)
  })
})

t.test('a key to encrypt for is public, and strong enough', async (t) => {
  const { broker } = await setStage(t)
  const good = await makePair()
  const rsa = await makePair({ alg: 'RSA-OAEP-256' })
  const { alg: _, ...short } = rsa.jwk
  const table: [what: string, key: unknown, more?: object][] = [
    ['a private key', good.privateJwk],
    ['a private RSA key', rsa.privateJwk],
    ['a secret', { kty: 'oct', k: 'FAKE-secret-0123456789' }],
    ['a secret beside a public key', { ...good.jwk, d: 'FAKE-private-0123456789' }],
    ['a key for signatures', { ...good.jwk, use: 'sig' }],
    ['Ed25519', { kty: 'OKP', crv: 'Ed25519', x: good.jwk.x }],
    ['P-384', { kty: 'EC', crv: 'P-384', x: 'AA', y: 'AA' }],
    ['RSA1_5', { ...short, alg: 'RSA1_5' }],
    ['dir', { ...good.jwk, alg: 'dir' }],
    ['a weak RSA key', { ...short, n: short.n!.slice(0, 171) }],
    ['a point that is none', { kty: 'EC', crv: 'P-256', x: good.jwk.x, y: good.jwk.x }],
    ['half a point', { kty: 'EC', crv: 'P-256', x: good.jwk.x }],
    ['a number for a text', { ...good.jwk, x: 7 }],
    ['a text for a key', 'FAKE-private-0123456789'],
    ['an empty one', {}],
  ]
  for (const [what, encryption_key] of table) {
    const answer = await create(broker, { encryption_key })
    t.match(
      answer,
      { status: 400, body: { code: 'invalid_request', errors: [{ field: 'encryption_key' }] } },
      what,
    )
    for (const secret of ['FAKE', good.privateJwk.d!, rsa.privateJwk.d!])
      t.notMatch(answer.text, secret, what)
  }
  t.match(await create(broker, { require_sealed: true }), { body: { errors: [{ field: 'encryption_key' }] } })
  const more = await create(broker, { encryption_key: { ...good.jwk, use: 'enc', x5t: 'x', key_ops: [] } })
  t.same(more.body.encryption_key, good.jwk, 'what is not needed is not kept')
})
