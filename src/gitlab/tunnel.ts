import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP, isIPv6, type LookupFunction, type Socket } from 'node:net'
import type { ProxyFault } from '../errors/proxy-faults.ts'
import type { ForwardProxy } from './proxy.ts'

/** The proxy, not GitLab, is why there is no answer. Nothing has been sent to GitLab. */
export class ProxyError extends Error {
  readonly code = 'ERR_PROXY'
  readonly proxyFault: ProxyFault
  /** What the proxy answered; undefined = nothing. */
  readonly status: number | undefined
  constructor(proxyFault: ProxyFault, status?: number) {
    super('The proxy let nothing through')
    this.name = 'ProxyError'
    this.proxyFault = proxyFault
    this.status = status
  }
}

const faultOf = (status: number): ProxyFault => {
  if (status === 407) return 'credentials_required'
  return status === 502 || status === 503 || status === 504 ? 'target_unreachable' : 'refused'
}

type Target = { host: string; port: number }
type TunnelOptions = {
  timeoutMs: number
  /** Which addresses the proxy itself may have. */
  lookup: LookupFunction
}

/**
 * A way through a proxy to one server (RFC 9110, section 9.3.6). What the proxy answers instead of it is the proxy's
 * word and never taken for GitLab's: libraries for this hand a 407 or a page of the proxy on as the server's answer.
 * @throws {ProxyError}
 */
export const openTunnel = (
  proxy: ForwardProxy,
  { host, port }: Target,
  { timeoutMs, lookup }: TunnelOptions,
): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const target = `${isIPv6(host) ? `[${host}]` : host}:${port}`
    const request = (proxy.protocol === 'https:' ? httpsRequest : httpRequest)({
      method: 'CONNECT',
      host: proxy.host,
      port: proxy.port,
      path: target,
      headers: {
        host: target,
        ...(proxy.authorization === undefined ? {} : { 'proxy-authorization': proxy.authorization }),
      },
      agent: false,
      lookup,
      ...(isIP(proxy.host) === 0 ? { servername: proxy.host } : {}),
    })
    const timer = setTimeout(() => request.destroy(new ProxyError('proxy_unreachable')), timeoutMs)
    const refuse = ({ statusCode = 0 }: IncomingMessage) => {
      clearTimeout(timer)
      reject(new ProxyError(faultOf(statusCode), statusCode))
      request.destroy()
    }
    request.once('connect', (response: IncomingMessage, socket: Socket, head: Buffer) => {
      const { statusCode = 0 } = response
      // A server of TLS waits for the client: what came already cannot be the server's.
      if (statusCode < 200 || statusCode > 299 || head.length > 0) {
        socket.destroy()
        return refuse(response)
      }
      clearTimeout(timer)
      socket.removeAllListeners('error')
      return resolve(socket)
    })
    request.once('response', refuse)
    request.on('error', () => {
      clearTimeout(timer)
      reject(new ProxyError('proxy_unreachable'))
    })
    request.end()
  })
