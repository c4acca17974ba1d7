import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Test } from 'tap'

export type ConnectProxy = {
  url: string
  /** What it was asked for: `CONNECT host:port`, or method and URL of a request that it could have read. */
  asked: string[]
  /** The Proxy-Authorization of each. */
  authorizations: (string | undefined)[]
  /** Everything that went through it towards servers. */
  sent: Buffer[]
  /** How it behaves; connects when undefined. */
  behaviour: { status: number; body?: string; headers?: string } | 'hang' | 'cut' | undefined
}

/** A proxy for CONNECT on loopback. Every name leads to 127.0.0.1. */
export const startConnectProxy = async (t: Test): Promise<ConnectProxy> => {
  const sockets = new Set<Socket>()
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.once('close', () => sockets.delete(socket))
  }
  const proxy: ConnectProxy = { url: '', asked: [], authorizations: [], sent: [], behaviour: undefined }
  const server = createServer((request, response) => {
    proxy.asked.push(`${request.method} ${request.url}`)
    response.writeHead(500).end()
  })
  server.on('connection', keep)
  server.on('connect', (request, inner: Socket) => {
    proxy.asked.push(`CONNECT ${request.url}`)
    proxy.authorizations.push(request.headers['proxy-authorization'])
    const { behaviour } = proxy
    if (behaviour === 'hang') return
    if (behaviour === 'cut') {
      inner.destroy()
      return
    }
    if (behaviour) {
      const { status, body = '', headers = '' } = behaviour
      inner.end(`HTTP/1.1 ${status} FAKE\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`)
      return
    }
    const outer = connect(Number(new URL(`http://${request.url}`).port), '127.0.0.1', () => {
      inner.write('HTTP/1.1 200 Connection established\r\n\r\n')
      inner.on('data', (chunk: Buffer) => proxy.sent.push(chunk))
      inner.pipe(outer).pipe(inner)
    })
    keep(outer)
    outer.once('close', () => inner.destroy())
    inner.once('close', () => outer.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  proxy.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return proxy
}
