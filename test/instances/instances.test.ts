import t from 'tap'
import { setStage, startTestBroker } from '../support/broker.ts'
import { makeCertificate } from '../support/certificate.ts'
import { connectToken } from '../support/connect.ts'

t.test('instances', async (t) => {
  const broker = await startTestBroker(t)

  t.test('gitlab.com is there from the start', async (t) => {
    const { body } = await broker.get('/v1/instances')
    t.match(body.items, [
      { base_url: 'https://gitlab.com', allow_private_network: false, ca_certificate: null },
    ])
  })

  t.test('are added under their canonical base URL, once', async (t) => {
    const added = await broker.post('/v1/instances', {
      base_url: 'HTTPS://Git.Example.com:443/gitlab/api/v4/',
    })
    t.equal(added.status, 201)
    t.match(added.body, { base_url: 'https://git.example.com/gitlab', name: 'git.example.com' })
    const again = await broker.post('/v1/instances', { base_url: 'git.example.com/gitlab/', name: 'again' })
    t.match(again, { status: 409, body: { code: 'instance_exists' } })
    t.equal((await broker.post('/v1/instances', { base_url: 'https://git.example.com' })).status, 201)
  })

  t.test('take plain http only with a private network, and keep to it', async (t) => {
    const plain = { base_url: 'http://gitlab.internal', name: 'internal' }
    t.match((await broker.post('/v1/instances', plain)).body, { errors: [{ field: 'base_url' }] })
    const { body } = await broker.post('/v1/instances', { ...plain, allow_private_network: true })
    const path = `/v1/instances/${body.id}`
    const refused = await broker.request('PATCH', path, { body: { allow_private_network: false } })
    t.match(refused.body, { code: 'invalid_request', errors: [{ field: 'base_url' }] })
    t.match((await broker.get(path)).body, body, 'nothing changed')
  })

  t.test('take a certificate of their own authority', async (t) => {
    const { certificate } = makeCertificate()
    const { status, body } = await broker.post('/v1/instances', {
      base_url: 'https://private.example.com',
      ca_certificate: certificate,
    })
    t.equal(status, 201)
    t.equal(body.ca_certificate, certificate)
    const path = `/v1/instances/${body.id}`
    const end = Date.parse(body.ca_certificate_expires_at)
    t.ok(end > Date.now() && end < Date.now() + 2 * 86_400_000, 'and when it ends')
    const cleared = await broker.request('PATCH', path, { body: { ca_certificate: null } })
    t.match(cleared.body, {
      ca_certificate: null,
      ca_certificate_expires_at: null,
      name: 'private.example.com',
    })
  })

  t.test('take no certificate that has expired, and warn of one that ends soon', async (t) => {
    const base_url = 'https://127.0.0.1:1'
    const expired = makeCertificate({ validFrom: -90, validFor: -60 }).certificate
    const refused = await broker.post('/v1/instances', { base_url, ca_certificate: expired })
    t.match(refused.body, { errors: [{ field: 'ca_certificate', message: /expired 2\d{3}-/ }] })
    const ca_certificate = makeCertificate().certificate
    await broker.post('/v1/instances', { base_url, ca_certificate, allow_private_network: true })
    await broker.post('/v1/tokens/verify', { base_url, token: 'glpat-FAKE-0123456789' })
    const warned = broker.logLines.filter((line) => line.includes('ca_certificate of an instance ends'))
    t.match(
      warned.map((line) => JSON.parse(line)),
      [{ level: 'warn', instance: base_url }],
    )
  })

  t.test('take nothing beside certificates, and do not repeat it', async (t) => {
    const { certificate, key } = makeCertificate()
    const other = makeCertificate().certificate
    const base = { base_url: 'https://pem.example.com' }
    for (const [what, pem] of [
      ['a key behind the certificate', certificate + key],
      ['a key before the certificate', key + certificate],
      ['a key between two certificates', certificate + key + other],
      ['a key alone', key],
      ['a key under another name', certificate + key.replaceAll('PRIVATE KEY', 'EC PRIVATE KEY')],
      ['a key that is called a certificate', key.replaceAll('PRIVATE KEY', 'CERTIFICATE')],
      ['a key without its first line', certificate + key.split('\n').slice(1).join('\n')],
      ['a key inside of the certificate', certificate.replace('-----END', `${key}-----END`)],
      ['a token beside the certificate', `glpat-FAKE-beside-a-certificate\n${certificate}`],
      [
        'a header in the certificate',
        certificate.replace('-----\n', '-----\nX-Token: glpat-FAKE-header\n\n'),
      ],
      ['a second certificate that is none', certificate + key.replaceAll('PRIVATE KEY', 'CERTIFICATE')],
    ] as const) {
      const secret = key.split('\n')[1] as string
      for (const answer of [
        await broker.post('/v1/instances', { ...base, ca_certificate: pem }),
        await broker.request('PATCH', '/v1/instances/01900000-0000-7000-8000-000000000001', {
          body: { ca_certificate: pem },
        }),
      ]) {
        t.match(answer, { status: 400, body: { errors: [{ field: 'ca_certificate' }] } }, what)
        t.notOk(answer.text.includes(secret) || answer.text.includes('glpat'), what)
      }
    }
    const both = await broker.post('/v1/instances', {
      ...base,
      ca_certificate: `# Company\r\n${certificate}\n${other}`,
    })
    t.match(both, { status: 201, body: { ca_certificate: certificate + other } }, 'the certificates alone')
  })

  t.test('take no token for a URL', async (t) => {
    for (const base_url of [
      'glpat-FAKE0123456789abcdef',
      'https://gitlab.example.com/glpat-FAKE0123456789',
    ]) {
      const answer = await broker.post('/v1/instances', { base_url })
      t.match(answer, { status: 400, body: { errors: [{ field: 'base_url' }] } })
      t.notMatch(answer.text, /glpat/i)
    }
  })

  t.test('keep their trust when only the name changes', async (t) => {
    const { body } = await broker.post('/v1/instances', {
      base_url: 'https://10.0.0.7',
      allow_private_network: true,
    })
    broker.clock.advance(60)
    const renamed = await broker.request('PATCH', `/v1/instances/${body.id}`, {
      body: { name: 'Company GitLab' },
    })
    t.equal(renamed.status, 200)
    t.same(renamed.body, {
      ...body,
      name: 'Company GitLab',
      updated_at: new Date(broker.clock()).toISOString(),
    })
  })

  t.test('that do not exist are 404', async (t) => {
    const path = '/v1/instances/01900000-0000-7000-8000-00000000dead'
    for (const [method, more] of [
      ['GET', {}],
      ['PATCH', { body: { name: 'x' } }],
      ['DELETE', {}],
    ] as const) {
      t.match(await broker.request(method, path, more), { status: 404, body: { code: 'not_found' } })
    }
  })

  t.test('come page by page, each once', async (t) => {
    const all = (await broker.get('/v1/instances?limit=100')).body
    t.equal(all.next_cursor, null)
    const seen: string[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const page: string = cursor === '' ? '' : `&cursor=${cursor}`
      const { body } = await broker.get(`/v1/instances?limit=2${page}`)
      t.ok(body.items.length === 2 || body.next_cursor === null)
      seen.push(...body.items.map(({ id }: { id: string }) => id))
      cursor = body.next_cursor
    }
    t.same(
      seen,
      all.items.map(({ id }: { id: string }) => id),
    )
    t.ok(seen.length >= 5)
  })

  t.test('are for admins, and for changes those of all organizations', async (t) => {
    const { body } = await broker.get('/v1/instances?limit=1')
    const path = `/v1/instances/${body.items[0].id}`
    for (const role of ['scanner', 'manager'] as const) {
      const key = await broker.createKey(role, ['*'])
      t.match(await broker.get('/v1/instances', { key }), { status: 403, body: { code: 'forbidden' } })
    }
    const key = await broker.createKey('admin', ['acme'])
    t.equal((await broker.get(path, { key })).status, 200)
    for (const answer of [
      await broker.post('/v1/instances', { base_url: 'https://other.example.com' }, { key }),
      await broker.request('PATCH', path, { key, body: { name: 'mine' } }),
      await broker.request('DELETE', path, { key }),
    ]) {
      t.match(answer, { status: 403, body: { code: 'forbidden' } })
    }
  })

  t.test('leave a line in the audit log for every change', async (t) => {
    const events = await broker.db
      .selectFrom('audit_events')
      .select(['action', 'access_key_id', 'request_id', 'details'])
      .where('action', '=', 'instance.updated')
      .execute()
    t.equal(events.length, 2)
    for (const event of events) t.match(event, { access_key_id: String, request_id: String })
  })
})

t.test('an instance in use is not deleted; one that is free is', async (t) => {
  const stage = await setStage(t)
  const { broker, instanceId } = stage
  const remove = () => broker.request('DELETE', `/v1/instances/${instanceId}`)
  t.match(await remove(), { status: 409, body: { code: 'instance_in_use' } })
  await broker.db.deleteFrom('oauth_apps').execute()
  await connectToken(stage)
  t.equal((await remove()).body.code, 'instance_in_use')
  await broker.db.deleteFrom('connections').execute()
  t.equal((await remove()).status, 204)
  t.equal((await remove()).status, 404)
})
