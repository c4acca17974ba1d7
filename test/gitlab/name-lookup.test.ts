import { createServer } from 'node:http'
import type { AddressInfo, LookupFunction } from 'node:net'
import t from 'tap'
import { createInstanceClients, UNREGISTERED_ID } from '../../src/instances/instance-clients.ts'
import { createFakeClock } from '../support/clock.ts'
import { until } from '../support/lifecycle.ts'

type Answer = Parameters<LookupFunction>[2]

/** A resolver whose name servers say nothing about `dead*`, until told. */
const setResolver = () => {
  const asked: string[] = []
  const waiting: Answer[] = []
  const lookup: LookupFunction = (hostname, options, callback) => {
    asked.push(hostname)
    if (hostname.startsWith('dead')) return void waiting.push(callback)
    return options.all
      ? callback(null, [{ address: '127.0.0.1', family: 4 }])
      : callback(null, '127.0.0.1', 4)
  }
  const giveUp = () => {
    for (const callback of waiting.splice(0))
      callback(Object.assign(new Error('queryA ETIMEOUT'), { code: 'EAI_AGAIN' }), '')
  }
  return { asked, waiting, lookup, giveUp }
}

const instance = (id: string, baseUrl: string) => ({
  id,
  version: 1,
  base_url: baseUrl,
  allow_private_network: true,
  ca_certificate: null,
  proxy_url: null,
})
const REGISTERED = '01900000-0000-7000-8000-00000000000a'
const PATH = { path: '/api/v4/version' }

t.test(
  'names that no server answers for take one turn after the other, and hold up no registered instance',
  async (t) => {
    const server = createServer((_request, response) =>
      response.setHeader('content-type', 'application/json').end('{}'),
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const { asked, waiting, lookup, giveUp } = setResolver()
    const clients = createInstanceClients({ clock: createFakeClock(), lookup, timeoutMs: 30_000 })
    t.teardown(() => {
      clients.close()
      server.close()
    })
    const strangers = Array.from({ length: 30 }, (_, number) =>
      clients.for(instance(UNREGISTERED_ID, `http://dead-${number % 25}.example:${port}`)).send(PATH),
    )
    await until(() => waiting.length > 0)
    t.same(asked, ['dead-0.example'], 'the others wait')
    const known = clients.for(instance(REGISTERED, `http://gitlab.example:${port}`))
    t.match(await known.send(PATH), { kind: 'answer', status: 200 })

    let ended = 0
    for (const answer of strangers) void answer.then(() => (ended += 1))
    await until(() => ended > 0)
    t.equal(asked.length, 2, 'what finds no place in the queue is told at once')
    while (ended < strangers.length) {
      t.ok(waiting.length <= 1)
      giveUp()
      await new Promise(setImmediate)
    }
    t.equal(new Set(asked).size, asked.length, 'each name once')
    for (const answer of await Promise.all(strangers))
      t.match(answer, { kind: 'failure', reason: 'unreachable' })
  },
)

t.test('many calls to one instance ask for its name once', async (t) => {
  const { asked, waiting, lookup, giveUp } = setResolver()
  const clients = createInstanceClients({ clock: createFakeClock(), lookup, timeoutMs: 30_000 })
  t.teardown(() => clients.close())
  const client = clients.for(instance(REGISTERED, 'http://dead.example'))
  const calls = Array.from({ length: 8 }, () => client.send(PATH))
  await until(() => waiting.length > 0)
  await new Promise(setImmediate)
  t.same(asked, ['dead.example'])
  giveUp()
  for (const answer of await Promise.all(calls)) t.match(answer, { kind: 'failure', reason: 'unreachable' })
})
