import { createHmac, generateKeyPairSync } from 'node:crypto'
import { base64url, exportSPKI } from 'jose'
import t, { type Test } from 'tap'
import { setStage, startTestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { ACME_RULE, AUDIENCE, startIssuer, trustIssuer } from '../support/issuer.ts'

const setIssuerStage = async (t: Test, more: object = {}) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const issuer = await startIssuer(t, clock)
  const trusted = await trustIssuer(broker, issuer, more)
  if (trusted.status !== 201) throw new Error(trusted.text)
  const url = `/v1/credentials?url=${simulator.url}/acme/web-shop`
  return {
    ...stage,
    issuer,
    trusted: trusted.body,
    whoami: (key: string) => broker.get('/v1/whoami', { key }),
    lookUp: (key: string, on = broker) => on.get(url, { key }),
  }
}

const REFUSED = { status: 401, body: { code: 'unauthorized' } }

t.test('a workload presents its token in place of an access key', async (t) => {
  const { broker, issuer, trusted, whoami, lookUp, ...stage } = await setIssuerStage(t)
  const { id, token } = await connectToken({ broker, ...stage })
  const jwt = await issuer.sign()
  const [rule] = trusted.rules
  t.match((await whoami(jwt)).body, {
    id: rule.id,
    role: 'scanner',
    organizations: ['acme'],
    subject: 'project_path:acme/web-shop:ref_type:branch:ref:main',
    expires_at: new Date(broker.clock() + 300_000).toISOString(),
  })

  t.test('and the lease names the rule and the workload', async (t) => {
    const answer = await lookUp(jwt)
    t.match(answer, { status: 200, body: { connection_id: id, token } })
    const lease = await broker.db
      .selectFrom('leases')
      .select(['access_key_id', 'subject'])
      .where('id', '=', answer.body.lease_id)
      .executeTakeFirst()
    t.same(lease, { access_key_id: rule.id, subject: 'project_path:acme/web-shop:ref_type:branch:ref:main' })

    const other = await issuer.sign({ sub: 'another workload' })
    const release = (key: string) => broker.request('DELETE', `/v1/leases/${answer.body.lease_id}`, { key })
    const reject = (key: string) =>
      broker.post(`/v1/leases/${answer.body.lease_id}/rejection`, undefined, { key })
    t.equal((await release(other)).status, 404, 'of which another workload knows nothing')
    t.equal((await reject(other)).status, 404)
    t.equal((await reject(jwt)).body.code, 'token_works')
    t.equal((await release(jwt)).status, 204)
  })

  t.test('lookups with a token and with a key share a statement', async (t) => {
    const key = await broker.createKey('scanner', ['acme'])
    const answers = await Promise.all([lookUp(key), lookUp(jwt), lookUp(key), lookUp(jwt)])
    const leases = await broker.db.selectFrom('leases').select(['id', 'subject']).execute()
    const subjects = new Map(leases.map((lease) => [lease.id, lease.subject]))
    t.same(
      answers.map(({ body }) => subjects.get(body.lease_id) === null),
      [true, false, true, false],
    )
  })

  t.test('it may do what the rule says, and no more', async (t) => {
    t.match(await broker.get('/v1/connections', { key: jwt }), { status: 403 })
    const url = `/v1/credentials?organization=globex&url=https://gitlab.com/globex/x`
    t.match(await broker.get(url, { key: jwt }), { status: 404, body: { code: 'not_found' } })
  })

  t.test('until the token ends', async (t) => {
    broker.clock.advance(299)
    t.equal((await lookUp(jwt)).status, 200)
    broker.clock.advance(1)
    t.match(await lookUp(jwt), REFUSED)
    broker.clock.advance(10)
    t.match(await whoami(jwt), { ...REFUSED, body: { detail: 'The token of this issuer has expired.' } })
  })

  t.test('a rule is no access key', async (t) => {
    const { body } = await broker.get('/v1/access-keys?limit=100')
    t.notOk(body.items.some(({ id }: { id: string }) => id === rule.id))
    t.equal((await broker.request('DELETE', `/v1/access-keys/${rule.id}`)).status, 404)
  })
})

t.test('a token that an issuer does not vouch for is refused', async (t) => {
  const { broker, issuer, whoami } = await setIssuerStage(t)
  const stranger = await startIssuer(t, broker.clock)
  const now = Math.floor(broker.clock() / 1000)
  const [key] = issuer.keys()
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' })
  issuer.publish({ ...weak, kid: 'weak', alg: 'RS256' })
  issuer.publish({ kty: 'RSA', n: 'AQ', e: 'AQAB', kid: 'broken', alg: 'RS256' })
  issuer.publish({ kty: 'oct', k: base64url.encode('FAKE-secret'), kid: 'shared' })
  const none = async () => {
    const [, payload] = (await issuer.sign()).split('.')
    return `${base64url.encode('{"alg":"none"}')}.${payload}.`
  }
  /** The public key as the secret of an HMAC, in the forms in which libraries were tricked. */
  const hmac = async (secret: string) => {
    const [, payload] = (await issuer.sign()).split('.')
    const signed = `${base64url.encode(JSON.stringify({ alg: 'HS256', kid: 'first' }))}.${payload}`
    return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
  }
  const table: [what: string, token: string, detail?: RegExp][] = [
    ['alg none', await none()],
    ['HS256 with the public key', await hmac(await exportSPKI(key!.publicKey))],
    ['HS256 with the public JWK', await hmac(JSON.stringify(key!.jwk))],
    ['signed by a stranger with the same kid', await issuer.sign({}, {}, stranger.keys()[0])],
    ['of a stranger', await stranger.sign()],
    ['that says to be of a stranger', await issuer.sign({ iss: stranger.issuer })],
    ['with a slash more in its issuer', await issuer.sign({ iss: `${issuer.issuer}/` })],
    ['for another service', await issuer.sign({ aud: 'https://other.example.com' })],
    ['for nobody', await issuer.sign({ aud: [] })],
    ['expired', await issuer.sign({ exp: now - 11 }), /expired/],
    ['without an end', await issuer.sign({ exp: undefined })],
    ['not yet valid', await issuer.sign({ nbf: now + 60 }), /not valid yet/],
    ['without a subject', await issuer.sign({ sub: undefined })],
    ['with U+0000 in its subject', await issuer.sign({ sub: 'a\0b' })],
    ['with U+0000 in its issuer', await issuer.sign({ iss: 'a\0b' })],
    ['of an unknown key', await issuer.sign({}, { kid: 'unknown' })],
    ['of a key that is too weak', await issuer.sign({}, { kid: 'weak' })],
    ['of a key that is none', await issuer.sign({}, { kid: 'broken' })],
    ['of a key that is a secret', await issuer.sign({}, { kid: 'shared' })],
    ['cut short', (await issuer.sign()).slice(0, -8)],
    ['changed', (await issuer.sign()).replace(/\.(...)/, '.e30')],
    ['for which there is no rule', await issuer.sign({ project_path: 'globex/site' }), /no rule/],
  ]
  for (const [what, token, detail] of table) {
    const answer = await whoami(token)
    t.match(answer, REFUSED, what)
    if (detail) t.match(answer.body.detail, detail)
    t.notMatch(answer.text, token.split('.')[1]!, 'and is not repeated')
    t.notOk(
      broker.logLines.some((line) => line.includes(token.split('.')[1]!)),
      'nor logged',
    )
  }
  t.equal((await whoami(await issuer.sign({ aud: ['x', AUDIENCE] }))).status, 200, 'one of several audiences')
  t.equal((await whoami(await issuer.sign({ nbf: now + 5 }))).status, 200, 'clocks differ by some seconds')
  const reasons = broker.logLines.flatMap((line) => JSON.parse(line).reason ?? [])
  for (const reason of ['algorithm_not_allowed', 'bad_signature', 'wrong_audience', 'unknown_key', 'no_rule'])
    t.ok(reasons.includes(reason), `the log says ${reason}`)
})

t.test('an issuer is asked for its keys now and then, whatever somebody sends', async (t) => {
  const { broker, issuer, whoami, clock } = await setIssuerStage(t)
  const fetched = () => issuer.requests.filter((url) => url === '/keys').length

  const many = () => Promise.all(Array.from({ length: 20 }, async () => whoami(await issuer.sign())))
  for (const answer of await many()) t.equal(answer.status, 200, 'many at once wait for the first fetch')
  t.equal(fetched(), 1)
  const random = Array.from({ length: 30 }, (_, index) => issuer.sign({}, { kid: `random-${index}` }))
  for (const answer of await Promise.all((await Promise.all(random)).map(whoami))) t.match(answer, REFUSED)
  t.equal(fetched(), 1, 'asked a moment ago')
  clock.advance(30)
  for (const token of await Promise.all(random)) t.match(await whoami(token), REFUSED)
  t.equal(fetched(), 2, 'once for all of them')

  clock.advance(30)
  await issuer.addKey('second')
  for (const answer of await many()) t.equal(answer.status, 200, 'a new key works at once')
  t.equal(fetched(), 3)

  clock.advance(600)
  issuer.removeKey('first')
  const [old] = [await issuer.sign()]
  t.equal((await whoami(old)).status, 200)
  t.equal(broker.logLines.filter((line) => line.includes('cannot be fetched')).length, 0)
})

t.test('a key that the issuer withdrew stops working', async (t) => {
  const { issuer, whoami, lookUp, clock } = await setIssuerStage(t)
  const [first] = issuer.keys()
  const token = await issuer.sign({ exp: Math.floor(clock() / 1000) + 7_200 })
  t.equal((await whoami(token)).status, 200)
  await issuer.addKey('second')
  issuer.removeKey('first')
  clock.advance(601)
  // The set is loaded anew beside the first use of the aged one.
  await whoami(await issuer.sign({}, {}, first))
  t.equal((await whoami(await issuer.sign())).status, 200)
  t.match(await whoami(token), REFUSED)
  t.match(await lookUp(token), REFUSED, 'nor is it remembered')
})

t.test('while the keys of an issuer cannot be fetched', async (t) => {
  const { broker, issuer, whoami, clock } = await setIssuerStage(t)
  const UNAVAILABLE = { status: 503, body: { code: 'issuer_unavailable' } }

  t.test('nobody is told that a token is wrong', async (t) => {
    for (const answer of [
      { status: 500, body: '{}' },
      { status: 200, body: '<html>' },
      { status: 302, body: '' },
    ]) {
      issuer.answerInstead(answer)
      const refused = await whoami(await issuer.sign())
      t.match(refused, UNAVAILABLE)
      t.ok(Number(refused.headers.get('retry-after')) >= 1)
      clock.advance(5)
    }
    issuer.answerInstead(undefined)
    for (const discovery of [{ issuer: 'https://evil.example' }, { jwks_uri: 7 }, { jwks_uri: 'nowhere' }]) {
      issuer.setDiscovery(discovery)
      t.match(await whoami(await issuer.sign()), UNAVAILABLE)
      clock.advance(5)
    }
    issuer.setDiscovery({})
    t.equal((await whoami(await issuer.sign())).status, 200)
  })

  t.test('those that are known keep working for six hours', async (t) => {
    issuer.answerInstead({ status: 503, body: '' })
    for (const seconds of [60, 600, 3_600, 10_000]) {
      clock.advance(seconds)
      t.equal((await whoami(await issuer.sign())).status, 200, `${seconds} s later`)
    }
    t.match(
      await whoami(await issuer.sign({}, { kid: 'newer' })),
      UNAVAILABLE,
      'and an unknown one may be good',
    )
    t.match(await whoami(await issuer.sign({ aud: 'x' })), REFUSED, 'while what is wrong stays wrong')
    clock.advance(6 * 3_600)
    t.match(await whoami(await issuer.sign()), UNAVAILABLE)
    issuer.answerInstead(undefined)
    clock.advance(5)
    t.equal((await whoami(await issuer.sign())).status, 200)
    t.ok(broker.logLines.some((line) => line.includes('the keys of a trusted issuer cannot be fetched')))
  })
})

t.test('the address of an issuer is held to what is allowed', async (t) => {
  const broker = await startTestBroker(t)
  const issuer = await startIssuer(t, broker.clock)
  t.equal((await trustIssuer(broker, issuer, { allow_private_network: false })).status, 201)
  t.match(await broker.get('/v1/whoami', { key: await issuer.sign() }), { status: 503 })
  t.same(issuer.requests, [], 'a private address is not called')
})

t.test('the first rule that matches counts, in its role and with its restrictions', async (t) => {
  const rules = [
    { claims: { project_path: 'acme/ops' }, organizations: ['acme', 'globex'], role: 'manager' },
    { ...ACME_RULE, restrictions: { read_only: true } },
    { claims: { project_path: '**' }, organizations: ['globex'] },
  ]
  const { broker, issuer, whoami, lookUp } = await setIssuerStage(t, { rules })
  const as = async (project_path: string) => (await whoami(await issuer.sign({ project_path }))).body
  t.match(await as('acme/ops'), { role: 'manager', organizations: ['acme', 'globex'] })
  t.match(await as('acme/web-shop'), { role: 'scanner', restrictions: { read_only: true } })
  t.match(await as('other/x'), { role: 'scanner', organizations: ['globex'] })
  t.match(await lookUp(await issuer.sign()), { status: 403 })
  const manager = await issuer.sign({ project_path: 'acme/ops' })
  t.equal((await broker.get('/v1/connections', { key: manager })).status, 200)

  t.test('and nobody signs in on the page with a token that ends in minutes', async (t) => {
    const answer = await broker.request('POST', '/connect/sign-in', {
      key: null,
      rawBody: new URLSearchParams({ access_key: manager }).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded', origin: broker.url },
    })
    t.equal(answer.status >= 400, true)
    t.same(answer.headers.getSetCookie(), [])
  })
})

t.test('audit_only: verified and recorded, not accepted', async (t) => {
  const { broker, issuer, trusted, whoami, lookUp } = await setIssuerStage(t, { mode: 'audit_only' })
  const token = await issuer.sign()
  t.match(await whoami(token), { ...REFUSED, body: { detail: /audit_only/ } })
  t.match(await lookUp(token), REFUSED)
  const logged = broker.logLines.map((line) => JSON.parse(line))
  t.match(
    logged.find(({ msg }) => msg === 'a token of an issuer would be accepted'),
    { rule: trusted.rules[0].id, subject: 'project_path:acme/web-shop:ref_type:branch:ref:main' },
  )
  t.match(await whoami(await issuer.sign({ project_path: 'globex/x' })), { body: { detail: /no rule/ } })
})

t.test('an issuer that is trusted no longer is out at once, on every replica', async (t) => {
  const { broker, issuer, trusted, whoami, lookUp, clock, ...stage } = await setIssuerStage(t)
  await connectToken({ broker, clock, ...stage })
  const replica = await startTestBroker(t, { database: broker.database, clock })
  const token = await issuer.sign()
  for (const on of [broker, replica]) t.equal((await lookUp(token, on)).status, 200)
  const leases = async () => (await broker.db.selectFrom('leases').select('id').execute()).length
  const before = await leases()
  t.equal((await broker.request('DELETE', `/v1/trusted-issuers/${trusted.id}`)).status, 204)
  for (const on of [broker, replica]) t.match(await lookUp(token, on), REFUSED)
  t.match(await whoami(token), REFUSED)
  t.equal(await leases(), before, 'nothing was handed out')
  t.same(
    await broker.db
      .selectFrom('access_keys')
      .select('id')
      .where('trusted_issuer_id', 'is not', null)
      .execute(),
    [],
  )
})

t.test('whoever trusts an issuer first claims no workload of another organization', async (t) => {
  const { broker, simulator, ...stage } = await setStage(t)
  const issuer = await startIssuer(t, stage.clock)
  const everything = { claims: { sub: '**' }, organizations: ['evil'] }
  const evil = await trustIssuer(broker, issuer, { rules: [everything] })
  t.equal(evil.status, 201)
  t.match(await trustIssuer(broker, issuer), {
    status: 409,
    body: { code: 'trusted_issuer_exists', detail: /audience of your own/ },
  })
  const audience = `${AUDIENCE}/acme`
  t.equal((await trustIssuer(broker, issuer, { audience })).status, 201)
  const organizationsWith = async (aud: string | string[]) =>
    (await broker.get('/v1/whoami', { key: await issuer.sign({ aud }) })).body.organizations
  t.same(await organizationsWith(audience), ['acme'])
  t.same(await organizationsWith(AUDIENCE), ['evil'], 'which no workload of acme asks for')
})
