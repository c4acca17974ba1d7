import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { DEFAULT_LIMITS } from '../../src/config/limits.ts'
import { limitSockets, type SocketLimits } from '../../src/http/sockets.ts'
import { startTestBroker } from '../support/broker.ts'

const open = (t: Test, port: number): Socket => {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  t.teardown(() => socket.destroy())
  return socket
}

const GET = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'

/** Opens so many at once and asks on each. @returns how many were answered. */
const ask = async (t: Test, port: number, count: number, request = GET): Promise<number> => {
  const answered = await Promise.all(
    Array.from({ length: count }, async () => {
      const socket = open(t, port)
      socket.write(request)
      return new Promise<boolean>((resolve) => {
        socket.once('data', () => resolve(true)).once('close', () => resolve(false))
      })
    }),
  )
  return answered.filter(Boolean).length
}

const serve = async (t: Test, limits: Partial<SocketLimits>, body = 'ok') => {
  const server = createServer((_request, response) => response.end(body))
  limitSockets(server, { sockets: 0, socketsPerAddress: 0, trustProxy: false, ...limits })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { server, port: (server.address() as AddressInfo).port }
}

t.test('one address has so many sockets at once, and gets new ones for those that close', async (t) => {
  const { port } = await serve(t, { socketsPerAddress: 5 })
  const kept = Array.from({ length: 4 }, () => open(t, port))
  await Promise.all(kept.map((socket) => once(socket, 'connect')))
  t.equal(await ask(t, port, 3), 1)
  kept[0]!.destroy()
  kept[1]!.destroy()
  let more = 0
  while (more === 0) more = await ask(t, port, 1)
  t.equal(more, 1)
})

t.test('a trusted proxy has no limit of its own, all together have one', async (t) => {
  const answered = async (limits: Partial<SocketLimits>) => ask(t, (await serve(t, limits)).port, 6)
  for (const trustProxy of [true, 'loopback', '10.0.0.0/8, 127.0.0.1'])
    t.equal(await answered({ socketsPerAddress: 2, trustProxy }), 6, String(trustProxy))
  t.equal(await answered({ socketsPerAddress: 2, trustProxy: '10.0.0.0/8' }), 2)
  t.equal(await answered({ sockets: 3, trustProxy: true }), 3)
})

t.test('who asks and never reads is cut off, and who reads slowly is not', async (t) => {
  const { server, port } = await serve(t, { sweepMs: 300 }, 'x'.repeat(1_000_000))
  const requests = GET.repeat(30)
  const silent = open(t, port).pause()
  const [served] = (await once(server, 'connection')) as [Socket]
  const cutOff = new Promise((resolve) => served.once('close', resolve))
  silent.write(requests)
  const slow = open(t, port)
  let received = 0
  slow.on('data', (chunk: Buffer) => {
    received += chunk.length
    slow.pause()
    setTimeout(() => slow.resume(), 2)
  })
  const ended = new Promise((resolve) => slow.once('close', resolve))
  slow.write(requests.replace(/\r\n\r\n$/, '\r\nconnection: close\r\n\r\n'))
  await Promise.all([cutOff, ended])
  t.ok(received > 30_000_000, `${received} bytes`)
})

t.test('the broker closes what sends no request, half of one, or half of a body', async (t) => {
  const broker = await startTestBroker(t, {
    config: { limits: { ...DEFAULT_LIMITS, socketsPerAddress: 100 } },
  })
  const port = Number(new URL(broker.url).port)
  const start = performance.now()
  const halves = [
    '',
    'POST /v1/tokens/verify HTTP/1.1\r\nhost: x\r\n',
    'POST /v1/tokens/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{',
    'POST /connect/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 100\r\n\r\na',
  ]
  const sockets = halves.flatMap((half) =>
    Array.from({ length: 20 }, () => {
      const socket = open(t, port)
      if (half) socket.write(half)
      return socket.resume()
    }),
  )
  const dripping = sockets[25]!
  const drip = setInterval(() => dripping.write('x-a: b\r\n'), 500)
  await Promise.all(
    sockets.map((socket) => socket.closed || new Promise((resolve) => socket.once('close', resolve))),
  )
  clearInterval(drip)
  const seconds = (performance.now() - start) / 1000
  t.ok(seconds < 15, `${seconds.toFixed(1)} s`)
  t.equal((await broker.get('/healthz')).status, 200)
})
