import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export type Proxy = {
  url: string
  /** Cuts what is connected and refuses what comes, as a server that is gone. */
  cut(): Promise<void>
  /** Swallows from now on what is sent either way, as a network that is gone without a word. */
  swallow(): void
  /** Is there again, at the same address. */
  restore(): Promise<void>
}

/** A door in front of a server that a test can shut without harming the server. */
export const startProxy = async (t: Test, target: string): Promise<Proxy> => {
  const { hostname, port: targetPort } = new URL(target)
  const sockets = new Set<Socket>()
  const server = createServer((inner) => {
    const outer = connect(Number(targetPort), hostname)
    for (const [socket, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      sockets.add(socket)
      socket.once('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
      socket.on('error', () => socket.destroy())
      socket.pipe(other)
    }
  })
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  await listen(0)
  const { port } = server.address() as AddressInfo
  const cut = async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await closed
  }
  t.teardown(async () => {
    if (server.listening) await cut()
  })
  return {
    url: Object.assign(new URL(target), { port: String(port) }).href,
    cut,
    swallow() {
      for (const socket of sockets) socket.unpipe().resume()
    },
    restore: () => listen(port),
  }
}
