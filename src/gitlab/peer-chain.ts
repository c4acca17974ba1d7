import type { Duplex } from 'node:stream'
import { type DetailedPeerCertificate, TLSSocket } from 'node:tls'
import { organizationsOf } from './certificates.ts'

/** Given to an error of TLS: the server sends too few certificates. OpenSSL tells that of one certificate alone. */
export const INTERMEDIATE_LEFT_OUT = 'INTERMEDIATE_LEFT_OUT'

/** More are no chain. */
const MOST = 20

type Names = { O?: string | string[] | undefined; CN?: string | string[] | undefined }

/** Pure. @param authorities PEM of what somebody gave for this server */
export const leavesIntermediateOut = (
  chain: readonly { subject: Names; issuer: Names }[],
  authorities: string,
) => {
  const top = chain.at(-1)
  if (!top || JSON.stringify(top.subject) === JSON.stringify(top.issuer)) return false
  if (chain.length === 1) return true
  // An authority of the company that is known here has signed, and is not the one that is known.
  const { O } = top.issuer
  return typeof O === 'string' && organizationsOf(authorities).includes(O)
}

const chainOf = (socket: TLSSocket): DetailedPeerCertificate[] => {
  const chain: DetailedPeerCertificate[] = []
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
  while (next?.subject && chain.length < MOST && !chain.includes(next)) {
    chain.push(next)
    next = next.issuerCertificate
  }
  return chain
}

/** Looks at what the server sent before Node refuses it and ends the connection. */
export const noteChain = <Connection extends Duplex | null | undefined>(
  socket: Connection,
  authorities: string,
): Connection => {
  if (!(socket instanceof TLSSocket)) return socket
  let isLeftOut = false
  socket.prependOnceListener('secure', () => {
    isLeftOut = !socket.isSessionReused() && leavesIntermediateOut(chainOf(socket), authorities)
  })
  socket.prependOnceListener('error', (error: Error & { code?: string; reason?: string }) => {
    if (isLeftOut && /^UNABLE_TO_(GET_ISSUER_CERT|VERIFY)/.test(error.code ?? ''))
      error.code = INTERMEDIATE_LEFT_OUT
  })
  return socket
}
