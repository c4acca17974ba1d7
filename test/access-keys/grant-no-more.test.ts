import { exportJWK, generateKeyPair } from 'jose'
import t from 'tap'
import { startTestBroker } from '../support/broker.ts'
import { ACME_RULE, startIssuer, trustIssuer } from '../support/issuer.ts'

const FORBIDDEN = { status: 403, body: { code: 'forbidden' } }

const makeJwk = async () => {
  const { publicKey } = await generateKeyPair('ECDH-ES+A256KW', { extractable: true, crv: 'X25519' })
  return { ...(await exportJWK(publicKey)), alg: 'ECDH-ES+A256KW', kid: 'mine' }
}

t.test('nobody grants more than they hold', async (t) => {
  const broker = await startTestBroker(t)
  const issuer = await startIssuer(t, broker.clock)
  const jwk = await makeJwk()
  const grants = (key: string) => ({
    key: (more: object = {}) =>
      broker.post(
        '/v1/access-keys',
        { name: 'made', role: 'scanner', organizations: ['acme'], ...more },
        { key },
      ),
    issuer: (rule: object = {}) =>
      broker.post(
        '/v1/trusted-issuers',
        { issuer: 'https://ci.example.com', audience: 'broker', rules: [{ ...ACME_RULE, ...rule }] },
        { key },
      ),
  })

  await t.test('whoever gets credentials encrypted only grants only that, for the same key', async (t) => {
    const made = await broker.post('/v1/access-keys', {
      name: 'sealed admin',
      role: 'admin',
      organizations: ['acme'],
      encryption_key: jwk,
      require_sealed: true,
    })
    t.equal(made.status, 201, made.text)
    const own = grants(made.body.key)
    const another = { encryption_key: await makeJwk(), require_sealed: true }
    for (const more of [
      {},
      { encryption_key: jwk },
      { encryption_key: jwk, require_sealed: false },
      another,
    ]) {
      t.match(await own.key(more), FORBIDDEN, JSON.stringify(more))
      t.match(await own.issuer(more), FORBIDDEN, JSON.stringify(more))
    }
    const sealed = { encryption_key: jwk, require_sealed: true }
    t.equal((await own.key(sealed)).status, 201)
    t.equal((await own.issuer(sealed)).status, 201)
    t.equal(
      (await broker.post('/v1/access-keys', { name: 'x', role: 'scanner', organizations: ['acme'] })).status,
      201,
    )
  })

  await t.test(
    'a workload grants nothing, whatever its role: what it made would outlast its token',
    async (t) => {
      const rules = [{ ...ACME_RULE, role: 'admin' }]
      t.equal((await trustIssuer(broker, issuer, { rules })).status, 201)
      const jwt = await issuer.sign()
      t.equal((await broker.get('/v1/access-keys', { key: jwt })).status, 200, 'it is an admin')
      const counts = async () => [
        (await broker.db.selectFrom('access_keys').select('id').execute()).length,
        (await broker.db.selectFrom('trusted_issuers').select('id').execute()).length,
      ]
      const before = await counts()
      t.match(await grants(jwt).key(), FORBIDDEN)
      t.match(await grants(jwt).issuer(), FORBIDDEN)
      t.same(await counts(), before)
    },
  )
})
