import { BlockList, isIP, isIPv6 } from 'node:net'
import type { EnvironmentProxy } from '../config/proxy.ts'
import { isLoopback } from './base-url.ts'

/** Pure: through which proxy a server is called. */

export type ForwardProxy = {
  protocol: 'http:' | 'https:'
  host: string
  port: number
  /** Value of Proxy-Authorization; undefined = it asks for none, as far as we know. */
  authorization: string | undefined
}

const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, '')
const portOf = ({ protocol, port }: URL): number => Number(port) || (protocol === 'https:' ? 443 : 80)

const toProxy = (url: URL): ForwardProxy => {
  const { username, password } = url
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return {
    protocol: url.protocol === 'https:' ? 'https:' : 'http:',
    host: hostOf(url),
    port: portOf(url),
    authorization: username || password ? `Basic ${Buffer.from(pair, 'utf8').toString('base64')}` : undefined,
  }
}

/** `host`, `.host`, `*.host` (each with all below it), with a port or not; an address, or a network; `*`. */
const covers = (entry: string, host: string, port: number): boolean => {
  if (entry === '*') return true
  const [network = '', prefix] = entry.split('/')
  if (prefix !== undefined) return isInNetwork(host, network.replace(/^\[|\]$/g, ''), prefix)
  const [, name = '', , ownPort] = /^(\[[^\]]*\]|[^:]*|[^[]*:[^[]*:[^[]*?)(:(\d+))?$/.exec(entry) ?? []
  if (ownPort !== undefined && Number(ownPort) !== port) return false
  const wanted = name
    .replace(/^\[|\]$/g, '')
    .replace(/^\*?\./, '')
    .replace(/\.$/, '')
    .toLowerCase()
  return wanted !== '' && (host === wanted || (isIP(host) === 0 && host.endsWith(`.${wanted}`)))
}

const isInNetwork = (host: string, network: string, prefix: string): boolean => {
  const family = isIP(network)
  const longest = family === 6 ? 128 : 32
  if (family === 0 || isIP(host) !== family || !/^\d+$/.test(prefix) || Number(prefix) > longest) return false
  const list = new BlockList()
  const name = isIPv6(network) ? 'ipv6' : 'ipv4'
  list.addSubnet(network, Number(prefix), name)
  return list.check(host, name)
}

/**
 * The proxy for a server: that of the instance, else that of the environment; undefined = none. Plain http goes through
 * none: the proxy would read the tokens. This machine and what NO_PROXY names are reached without that of the
 * environment. Where the instance names the same proxy as the environment, the credentials of the latter are used.
 */
export const proxyFor = (
  baseUrl: string,
  { proxyUrl, environment }: { proxyUrl: string | null; environment: EnvironmentProxy | undefined },
): ForwardProxy | undefined => {
  const target = URL.parse(baseUrl)
  if (target?.protocol !== 'https:') return undefined
  const general = environment && toProxy(new URL(environment.url))
  if (proxyUrl !== null) {
    const url = URL.parse(proxyUrl)
    if (!url) return undefined
    const own = toProxy(url)
    const isSame =
      own.host === general?.host && own.port === general.port && own.protocol === general.protocol
    return isSame ? general : own
  }
  if (!environment || isLoopback(baseUrl)) return undefined
  const host = hostOf(target).replace(/\.$/, '')
  const port = portOf(target)
  return environment.noProxy.some((entry) => covers(entry, host, port)) ? undefined : general
}
