import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { CALLS_AT_ONCE } from '../../src/gitlab/guard.ts'
import { createHttpClient, type GitLabResult } from '../../src/gitlab/http-client.ts'
import { createInstanceClients, UNREGISTERED_ID } from '../../src/instances/instance-clients.ts'
import { createOAuthClients } from '../../src/oauth-apps/oauth-clients.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { connectByOAuth, MASTER_KEY, setStage } from '../support/broker.ts'
import { createFakeClock } from '../support/clock.ts'

const TIMEOUT_MS = 300
/** And a machine that is busy. */
const LONGEST_MS = TIMEOUT_MS + 10_000

/** A server that sends a text at once and then a byte now and then, without end. Good when told. */
const trickle = async (t: Test, atOnce: string) => {
  const sockets = new Set<Socket>()
  let good = false
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    let timer: NodeJS.Timeout | undefined
    socket.on('close', () => {
      sockets.delete(socket)
      clearInterval(timer)
    })
    socket.on('data', () => {
      if (good) {
        socket.end('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}')
        return
      }
      socket.write(atOnce)
      timer ??= setInterval(() => socket.write('1'), 20)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    sockets,
    recover: () => {
      good = true
    },
  }
}

const TRICKLES: [name: string, atOnce: string][] = [
  ['nothing but a byte now and then', ''],
  ['a header that never ends', 'HTTP/1.1 200 OK\r\nx-padding: 1'],
  [
    'a body that never ends',
    'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n[',
  ],
  ['a body without a length', 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n['],
  ['interim answers', 'HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: 1'],
]

for (const [name, atOnce] of TRICKLES) {
  t.test(`a GitLab that sends ${name} is given up in time, and holds no socket`, async (t) => {
    const gitlab = await trickle(t, atOnce)
    const client = createHttpClient(
      { baseUrl: gitlab.url, allowPrivateNetwork: true, caCertificate: null },
      { clock: createFakeClock(), timeoutMs: TIMEOUT_MS, circuitOpenMs: 1 },
    )
    t.teardown(() => client.close())
    const start = performance.now()
    const answers = await Promise.all(
      Array.from({ length: CALLS_AT_ONCE }, () => client.send({ path: '/api/v4/user' })),
    )
    const took = performance.now() - start
    t.ok(took < LONGEST_MS, `${Math.round(took)} ms`)
    for (const answer of answers) t.match(answer, { kind: 'failure' })
    while (gitlab.sockets.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))

    gitlab.recover()
    let answer: GitLabResult | undefined
    while (answer?.kind !== 'answer') answer = await client.send({ path: '/api/v4/user' })
    t.equal(answer.status, 200, 'every socket is free again')
  })
}

t.test('the OAuth client gives a GitLab that trickles up in time, and holds no socket', async (t) => {
  const { broker, clock } = await setStage(t)
  const vault = createVault(await openKeyRing(broker.db, [MASTER_KEY], clock))
  const instanceClients = createInstanceClients({
    clock,
    timeoutMs: TIMEOUT_MS,
    issuingTimeoutMs: TIMEOUT_MS,
  })
  const clients = createOAuthClients({ vault, clock, instanceClients, publicUrl: broker.url })
  t.teardown(async () => {
    await clients.close()
    instanceClients.close()
  })
  const app = await broker.db.selectFrom('oauth_apps').selectAll().executeTakeFirstOrThrow()
  const instance = await broker.db
    .selectFrom('instances')
    .selectAll()
    .where('id', '=', app.instance_id)
    .executeTakeFirstOrThrow()
  for (const [version, [name, atOnce]] of TRICKLES.entries()) {
    const gitlab = await trickle(t, atOnce)
    const client = await clients.for(app, { ...instance, base_url: gitlab.url, version: version + 100 })
    const start = performance.now()
    const answers = await Promise.all(Array.from({ length: 5 }, () => client.refresh('FAKE-refresh-token')))
    t.ok(performance.now() - start < LONGEST_MS, name)
    for (const { kind } of answers) t.match(kind, /^(failure|unreadable)$/)
    while (gitlab.sockets.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  }
})

/** Begins to answer shortly before the time is up, and never ends. @returns whether it was given up by then. */
const answerLate = async (t: Test) => {
  let wasLate = false
  const gitlab = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      setTimeout(
        () =>
          socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{'),
        0.8 * TIMEOUT_MS,
      )
      setTimeout(() => {
        wasLate ||= !socket.destroyed
      }, 1.5 * TIMEOUT_MS)
    })
  })
  gitlab.listen(0, '127.0.0.1')
  await once(gitlab, 'listening')
  t.teardown(() => gitlab.close())
  return {
    url: `http://127.0.0.1:${(gitlab.address() as AddressInfo).port}`,
    untilJudged: () => new Promise((resolve) => setTimeout(resolve, 2 * TIMEOUT_MS)),
    wasLate: () => wasLate,
  }
}

t.test('one time limit holds for the beginning of an answer and its end together', async (t) => {
  const { broker, clock } = await setStage(t)
  const vault = createVault(await openKeyRing(broker.db, [MASTER_KEY], clock))
  const limits = { clock, timeoutMs: TIMEOUT_MS, issuingTimeoutMs: TIMEOUT_MS }
  const instanceClients = createInstanceClients(limits)
  const clients = createOAuthClients({ vault, clock, instanceClients, publicUrl: broker.url })
  t.teardown(async () => {
    await clients.close()
    instanceClients.close()
  })
  const app = await broker.db.selectFrom('oauth_apps').selectAll().executeTakeFirstOrThrow()
  const instances = broker.db.selectFrom('instances').selectAll().where('id', '=', app.instance_id)
  const instance = await instances.executeTakeFirstOrThrow()
  const ways = {
    async api(base_url: string) {
      return instanceClients.for({ ...instance, base_url }).send({ path: '/api/v4/user' })
    },
    async oauth(base_url: string) {
      return (await clients.for(app, { ...instance, base_url })).refresh('FAKE-refresh-token')
    },
  }
  for (const [version, [name, ask]] of Object.entries(ways).entries()) {
    instance.version = 200 + version
    const gitlab = await answerLate(t)
    const answer = await ask(gitlab.url)
    t.not(answer.kind, 'issued', name)
    t.equal(gitlab.wasLate(), false, name)
    await gitlab.untilJudged()
    t.equal(gitlab.wasLate(), false, `${name}: the connection is closed`)
  }
})

t.test('many unknown hosts asked at once cut nobody off', async (t) => {
  const gitlab = await trickle(t, '')
  const clients = createInstanceClients({ clock: createFakeClock(), timeoutMs: 5_000 })
  t.teardown(() => clients.close())
  const stranger = (base_url: string) =>
    clients.for({
      id: UNREGISTERED_ID,
      version: 1,
      base_url,
      allow_private_network: true,
      ca_certificate: null,
      proxy_url: null,
    })
  const answer = stranger(gitlab.url).send({ path: '/api/v4/user' })
  while (gitlab.sockets.size === 0) await new Promise((resolve) => setImmediate(resolve))
  for (let host = 0; host < 300; host += 1) stranger(`https://host-${host}.example.com`)
  t.equal(gitlab.sockets.size, 1, 'the call is still under way')
  clients.close()
  for (const socket of gitlab.sockets) socket.destroy()
  t.match(await answer, { reason: 'cut' })
})

t.test('one organization whose GitLab trickles holds up no lookup of another', async (t) => {
  const stage = await setStage(t, { broker: { gitlab: { timeoutMs: 5_000 } } })
  const { broker, clock } = stage
  const id = await connectByOAuth(stage)
  const gitlab = await trickle(t, TRICKLES[2]![1])
  await broker.post('/v1/instances', { base_url: gitlab.url, allow_private_network: true })
  clock.advance(60)
  const verify = () =>
    broker.post('/v1/tokens/verify', { base_url: gitlab.url, token: 'glpat-FAKE-0123456789' })
  let ended = 0
  const slow = Array.from({ length: 4 * CALLS_AT_ONCE }, () =>
    verify().finally(() => {
      ended += 1
    }),
  )
  while (gitlab.sockets.size < CALLS_AT_ONCE) await new Promise((resolve) => setImmediate(resolve))
  const lookups = await Promise.all(
    Array.from({ length: 100 }, () => broker.get(`/v1/connections/${id}/credential?min_ttl=60`)),
  )
  t.same(new Set(lookups.map(({ status }) => status)), new Set([200]))
  t.ok(ended < slow.length, 'while calls to the other are still under way')
  for (const { status, body } of await Promise.all(slow))
    t.match({ status, reason: body.reason ?? body.code }, { reason: 'gitlab_unavailable' })
})
