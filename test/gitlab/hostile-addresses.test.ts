import { once } from 'node:events'
import { type AddressInfo, createServer, type LookupFunction } from 'node:net'
import t, { type Test } from 'tap'
import { createHttpClient } from '../../src/gitlab/http-client.ts'
import { createInstanceClients } from '../../src/instances/instance-clients.ts'
import { createOAuthClients } from '../../src/oauth-apps/oauth-clients.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { MASTER_KEY, startTestBroker } from '../support/broker.ts'
import { createFakeClock } from '../support/clock.ts'
import { NEVER, NEVER_IPV4, NEVER_IPV6, PRIVATE, spellingsOf } from '../support/hostile-addresses.ts'

const clock = createFakeClock()
const token = 'glpat-FAKE-0123456789'

/** Every address of this machine, IPv4 and IPv6, on one port. It answers nothing and counts who comes. */
const listen = async (t: Test) => {
  let connections = 0
  const server = createServer((socket) => {
    connections += 1
    socket.on('error', () => undefined)
    socket.end()
  })
  server.listen({ port: 0, host: '::', ipv6Only: false })
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return { port, connections: () => connections }
}

const clientFor = (baseUrl: string, allowPrivateNetwork: boolean, lookup?: LookupFunction) =>
  createHttpClient({ baseUrl, allowPrivateNetwork, caCertificate: null }, { clock, lookup, timeoutMs: 2_000 })

const REFUSED = { kind: 'failure', reason: 'address_not_allowed', mayHaveActed: false }

t.test('the table holds what it promises', async (t) => {
  t.ok(NEVER.length >= 300, `${NEVER.length} hosts that no permission opens`)
  t.ok(PRIVATE.length >= 150, `${PRIVATE.length} that take it`)
  for (const host of [...NEVER, ...PRIVATE]) t.ok(URL.canParse(`https://${host}:1`), host)
})

t.test('loopback is reached in every spelling where private networks are allowed', async (t) => {
  const { port, connections } = await listen(t)
  const hosts = [...spellingsOf('127.0.0.1'), '[::1]', 'localhost']
  for (const host of hosts) {
    const client = clientFor(`http://${host}:${port}`, true)
    t.match(await client.send({ path: '/' }), { kind: 'failure', reason: 'cut' }, host)
    client.close()
  }
  t.equal(connections(), hosts.length, 'so the listener would have seen the others')
})

for (const [profile, allowPrivateNetwork, hosts] of [
  ['public addresses only', false, [...NEVER, ...PRIVATE]],
  ['private networks allowed', true, NEVER],
] as const) {
  t.test(`${profile}: the client of GitLab's API reaches none of them`, async (t) => {
    const { port, connections } = await listen(t)
    for (const host of hosts) {
      // Plain http to a public host is refused for being plain, before any address is looked at.
      const scheme = allowPrivateNetwork ? 'http' : 'https'
      const client = clientFor(`${scheme}://${host}:${port}`, allowPrivateNetwork)
      t.same(await client.send({ path: '/api/v4/user', token }), REFUSED, `${scheme}://${host}`)
      client.close()
    }
    t.equal(connections(), 0)
  })

  t.test(`${profile}: no name leads there, alone or among others`, async (t) => {
    const { port, connections } = await listen(t)
    const addresses = [...NEVER_IPV4, ...NEVER_IPV6.map((host) => host.slice(1, -1)), 'fe80::1%lo']
    if (!allowPrivateNetwork) addresses.push('127.0.0.1', '::1', '::ffff:127.0.0.1', '10.0.0.1', 'fd12::1')
    for (const address of addresses) {
      const family = address.includes(':') ? 6 : 4
      const hostile = { address, family }
      for (const found of [[hostile], [{ address: '192.0.9.1', family: 4 }, hostile]]) {
        const lookup: LookupFunction = (_hostname, options, callback) =>
          options.all ? callback(null, found) : callback(null, address, family)
        const client = clientFor(`https://gitlab.example.com:${port}`, allowPrivateNetwork, lookup)
        t.same(await client.send({ path: '/api/v4/user', token }), REFUSED, JSON.stringify(found))
        client.close()
      }
    }
    t.equal(connections(), 0)
  })
}

t.test('a name that changes its address between two calls is looked at each time', async (t) => {
  const { port, connections } = await listen(t)
  let address = '127.0.0.1'
  const lookup: LookupFunction = (_hostname, options, callback) =>
    options.all ? callback(null, [{ address, family: 4 }]) : callback(null, address, 4)
  const client = clientFor(`http://gitlab.example.com:${port}`, true, lookup)
  t.match(await client.send({ path: '/' }), { reason: 'cut' })
  for (address of ['0.0.0.0', '169.254.169.254']) t.same(await client.send({ path: '/' }), REFUSED, address)
  t.equal(connections(), 1)
  client.close()
})

t.test('no request to the broker leads there', async (t) => {
  const broker = await startTestBroker(t)
  const { port, connections } = await listen(t)
  const verify = async (base_url: string) =>
    (await broker.post('/v1/tokens/verify', { base_url, token })).body.reason
  for (const host of [...NEVER, ...PRIVATE])
    t.equal(await verify(`https://${host}:${port}`), 'address_not_allowed', host)
  for (const host of NEVER) {
    const base_url = `http://${host}:${port}`
    const { status } = await broker.post('/v1/instances', { base_url, allow_private_network: true })
    t.ok(status === 201 || status === 409, `${host}: ${status}`)
    t.equal(await verify(base_url), 'address_not_allowed', host)
  }
  t.equal(connections(), 0)
})

t.test('no OAuth app leads there', async (t) => {
  const broker = await startTestBroker(t)
  const { port, connections } = await listen(t)
  const vault = createVault(await openKeyRing(broker.db, [MASTER_KEY], clock))
  const instanceClients = createInstanceClients({ clock })
  const clients = createOAuthClients({ vault, clock, instanceClients, publicUrl: broker.url })
  t.teardown(async () => {
    await clients.close()
    instanceClients.close()
  })
  const { body } = await broker.post('/v1/instances', {
    base_url: `http://127.0.0.1:${port}`,
    allow_private_network: true,
  })
  await broker.post('/v1/oauth-apps', {
    slug: 'hostile',
    instance_id: body.id,
    client_id: 'FAKE-id',
    client_secret: 'gloas-FAKE',
  })
  const app = await broker.db.selectFrom('oauth_apps').selectAll().executeTakeFirstOrThrow()
  const row = await broker.db
    .selectFrom('instances')
    .selectAll()
    .where('id', '=', body.id)
    .executeTakeFirstOrThrow()
  const some = (hosts: string[]) => hosts.filter((_host, index) => index % 12 === 0)
  let version = 1
  for (const [allow_private_network, hosts] of [
    [false, some([...NEVER, ...PRIVATE])],
    [true, some(NEVER)],
  ] as const) {
    for (const host of hosts) {
      version += 1
      const base_url = `${allow_private_network ? 'http' : 'https'}://${host}:${port}`
      const instance = { ...row, version, base_url: new URL(base_url).origin, allow_private_network }
      const client = await clients.for(app, instance)
      t.same(await client.refresh('FAKE-refresh-token'), REFUSED, host)
    }
  }
  t.equal(connections(), 0)
})
