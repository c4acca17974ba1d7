import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { compile } from '@fastify/proxy-addr'
import { normalizeIP } from '@fastify/rate-limit'

export type SocketLimits = {
  /** Open at once; 0 = no limit. */
  sockets: number
  /** Open at once of one address; 0 = no limit. */
  socketsPerAddress: number
  /** Whose sockets carry requests of many: these have no limit of their own. */
  trustProxy: boolean | string
  /** How often stalled readers are looked for. */
  sweepMs?: number
}

const SWEEP_MS = 5_000
/** A reader may stop for this long, and may not take longer for what was written at once. */
const STALLED_SWEEPS = 3

type Watched = { sent: number; stalledFor: number }

const isTrustedProxy = (trustProxy: boolean | string): ((address: string) => boolean) => {
  if (typeof trustProxy === 'boolean') return () => trustProxy
  const isTrusted = compile(trustProxy.split(',').map((part) => part.trim()))
  return (address) => isTrusted(address, 0)
}

/** Bounds what idle sockets and readers that do not read can hold: at the socket, before a request exists. */
export const limitSockets = (
  server: Server,
  { sockets, socketsPerAddress, trustProxy, sweepMs = SWEEP_MS }: SocketLimits,
): void => {
  const isProxy = isTrustedProxy(trustProxy)
  const open = new Map<Socket, Watched>()
  const counts = new Map<string, number>()
  if (sockets > 0) server.maxConnections = sockets

  const countSocket = (socket: Socket): boolean => {
    const { remoteAddress } = socket
    if (remoteAddress === undefined || socketsPerAddress === 0 || isProxy(remoteAddress)) return true
    const address = normalizeIP(remoteAddress)
    const count = (counts.get(address) ?? 0) + 1
    if (count > socketsPerAddress) return false
    counts.set(address, count)
    socket.once('close', () => {
      const left = (counts.get(address) ?? 1) - 1
      if (left > 0) counts.set(address, left)
      else counts.delete(address)
    })
    return true
  }

  server.prependListener('connection', (socket: Socket) => {
    if (!countSocket(socket)) {
      socket.destroy()
      return
    }
    open.set(socket, { sent: 0, stalledFor: 0 })
    socket.once('close', () => open.delete(socket))
  })

  /** While something waits to be sent and no more of it was, nobody reads. */
  const sweep = setInterval(() => {
    for (const [socket, watched] of open) {
      const sent = socket.bytesWritten - socket.writableLength
      watched.stalledFor = socket.writableLength > 0 && sent <= watched.sent ? watched.stalledFor + 1 : 0
      watched.sent = sent
      if (watched.stalledFor >= STALLED_SWEEPS) socket.destroy()
    }
  }, sweepMs).unref()
  server.once('close', () => clearInterval(sweep))
}
