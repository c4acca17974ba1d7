import t from 'tap'
import { startTestBroker, type TestBroker } from '../support/broker.ts'

const RULE = { claims: { project_path: 'acme/*' }, organizations: ['acme'] }
const create = (broker: TestBroker, body: object = {}, key?: string) =>
  broker.post(
    '/v1/trusted-issuers',
    { issuer: 'https://gitlab.example.com', audience: 'broker', rules: [RULE], ...body },
    key ? { key } : {},
  )

t.test('trusted issuers', async (t) => {
  const broker = await startTestBroker(t)

  t.test('are created, read, listed and deleted', async (t) => {
    const made = await create(broker)
    t.equal(made.status, 201, made.text)
    t.match(made.body, {
      issuer: 'https://gitlab.example.com',
      audience: 'broker',
      jwks_uri: null,
      allow_private_network: false,
      ca_certificate: null,
      mode: 'enforce',
      rules: [{ ...RULE, role: 'scanner', restrictions: { read_only: false }, require_sealed: false }],
    })
    t.same((await broker.get(`/v1/trusted-issuers/${made.body.id}`)).body, made.body)
    t.same((await broker.get('/v1/trusted-issuers')).body, { items: [made.body], next_cursor: null })
    t.match(await create(broker), { status: 409, body: { code: 'trusted_issuer_exists' } })
    t.equal((await create(broker, { audience: 'another' })).status, 201)
    const page = await broker.get('/v1/trusted-issuers?limit=1')
    t.equal((await broker.get(`/v1/trusted-issuers?cursor=${page.body.next_cursor}`)).body.items.length, 1)

    t.equal((await broker.request('DELETE', `/v1/trusted-issuers/${made.body.id}`)).status, 204)
    for (const method of ['GET', 'DELETE'])
      t.equal((await broker.request(method, `/v1/trusted-issuers/${made.body.id}`)).status, 404)
    const actions = await broker.db
      .selectFrom('audit_events')
      .select(['action', 'organization'])
      .where('subject_id', '=', made.body.id)
      .orderBy('id')
      .execute()
    t.same(actions, [
      { action: 'trusted_issuer.created', organization: 'acme' },
      { action: 'trusted_issuer.deleted', organization: 'acme' },
    ])
  })

  t.test('take an admin, and grant no more than the admin holds', async (t) => {
    const acme = await broker.createKey('admin', ['acme'])
    const issuer = 'https://ci.example.com'
    const rules = (...organizations: string[]) => ({ issuer, rules: [RULE, { ...RULE, organizations }] })
    t.equal((await create(broker, {}, await broker.createKey('manager', ['acme']))).status, 403)
    t.match(await create(broker, rules('globex'), acme), { status: 404, body: { code: 'not_found' } })
    t.equal((await create(broker, rules('*'), acme)).status, 403)
    t.equal((await create(broker, { issuer, allow_private_network: true }, acme)).status, 403)
    t.equal((await create(broker, rules('acme'), acme)).status, 201)

    const foreign = await create(broker, { ...rules('globex'), audience: 'of globex' })
    const { body } = await broker.get('/v1/trusted-issuers', { key: acme })
    t.notOk(body.items.some(({ id }: { id: string }) => id === foreign.body.id))
    for (const method of ['GET', 'DELETE']) {
      const path = `/v1/trusted-issuers/${foreign.body.id}`
      t.equal((await broker.request(method, path, { key: acme })).status, 404)
    }
  })

  t.test('that make no sense are refused by field', async (t) => {
    const table: [object, string][] = [
      [{ issuer: 'gitlab.com' }, 'issuer'],
      [{ issuer: 'http://gitlab.example.com' }, 'issuer'],
      [{ issuer: 'https://a:b@gitlab.example.com' }, 'issuer'],
      [{ issuer: 'https://gitlab.example.com?x=1' }, 'issuer'],
      [{ issuer: 'file:///etc/passwd' }, 'issuer'],
      [{ jwks_uri: 'http://gitlab.example.com/keys' }, 'jwks_uri'],
      [{ audience: '' }, 'audience'],
      [{ mode: 'maybe' }, 'mode'],
      [{ rules: [] }, 'rules'],
      [{ rules: [{ ...RULE, claims: {} }] }, 'rules.0.claims'],
      [{ rules: [{ ...RULE, claims: { sub: 7 } }] }, 'rules.0.claims.sub'],
      [{ rules: [RULE, { ...RULE, organizations: [] }] }, 'rules.1.organizations'],
      [{ rules: [RULE, { ...RULE, role: 'owner' }] }, 'rules.1.role'],
      [
        { rules: [RULE, { ...RULE, restrictions: { url_prefixes: ['x'] } }] },
        'rules.1.restrictions.url_prefixes.0',
      ],
      [{ rules: [{ ...RULE, require_sealed: true }] }, 'rules.0.encryption_key'],
      [{ rules: [{ ...RULE, colour: 'red' }] }, 'rules.0'],
      [{ ca_certificate: 'none' }, 'ca_certificate'],
      [{ ca_certificate: '-----BEGIN PRIVATE KEY-----FAKE' }, 'ca_certificate'],
    ]
    for (const [body, field] of table) {
      const answer = await create(broker, body)
      t.match(answer, { status: 400, body: { code: 'invalid_request' } }, JSON.stringify(body))
      t.ok(
        answer.body.errors.some((error: { field: string }) => error.field === field),
        `${field}: ${answer.text}`,
      )
    }
  })
})
