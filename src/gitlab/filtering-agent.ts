import { type ClientRequestArgs, Agent as HttpAgent, type AgentOptions as HttpAgentOptions } from 'node:http'
import { Agent as HttpsAgent, type AgentOptions as HttpsAgentOptions } from 'node:https'
import { isIP, type LookupFunction, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { isAddressAllowed } from './addresses.ts'
import { systemLookups } from './name-lookup.ts'
import { noteChain } from './peer-chain.ts'
import type { ForwardProxy } from './proxy.ts'
import { openTunnel, ProxyError } from './tunnel.ts'

export const ADDRESS_NOT_ALLOWED = 'ERR_ADDRESS_NOT_ALLOWED'

/** Names no address: whoever asked does not learn what a name inside of the network resolves to. */
class AddressNotAllowedError extends Error {
  readonly code = ADDRESS_NOT_ALLOWED
  constructor() {
    super('The address is not allowed')
    this.name = 'AddressNotAllowedError'
  }
}

export type AddressPolicy = {
  allowPrivateNetwork: boolean
  /** How names resolve; by the system when left out. */
  lookup?: LookupFunction | undefined
  /** Through which https goes. */
  proxy?: ForwardProxy | undefined
  /** How long the proxy may take. */
  proxyTimeoutMs?: number
  /** PEM of the certificates that somebody gave for this server, to name what is wrong with its own. */
  authorities?: string | undefined
}

const PROXY_TIMEOUT_MS = 5_000

/** The addresses that are checked here are those that Node then connects to: a name cannot change in between. */
const filterLookup =
  ({ allowPrivateNetwork, lookup = systemLookups.known }: AddressPolicy): LookupFunction =>
  (hostname, options, callback) =>
    lookup(hostname, options, (error, found, family) => {
      if (error) return callback(error, found, family)
      const addresses = typeof found === 'string' ? [found] : found.map(({ address }) => address)
      if (addresses.every((address) => isAddressAllowed(address, allowPrivateNetwork)))
        return callback(null, found, family)
      return callback(new AddressNotAllowedError(), found, family)
    })

/** Node asks the lookup for names alone: an address in the URL is looked at before. */
const isRefused = (host: unknown, { allowPrivateNetwork }: AddressPolicy): boolean =>
  typeof host === 'string' && isIP(host) !== 0 && !isAddressAllowed(host, allowPrivateNetwork)

/** Through the callback: an error event would come before the request listens. */
const refuse = (callback: ((error: Error | null, socket: Duplex) => void) | undefined): Duplex => {
  const socket = new Socket()
  callback?.(new AddressNotAllowedError(), socket)
  return socket
}

class FilteringHttpAgent extends HttpAgent {
  readonly policy: AddressPolicy
  readonly filteredLookup: LookupFunction
  constructor(policy: AddressPolicy, options: HttpAgentOptions) {
    super(options)
    this.policy = policy
    this.filteredLookup = filterLookup(policy)
  }
  override createConnection(...[options, callback]: Parameters<HttpAgent['createConnection']>) {
    if (isRefused(options.host, this.policy)) return refuse(callback)
    return super.createConnection({ ...options, lookup: this.filteredLookup }, callback)
  }
}

class FilteringHttpsAgent extends HttpsAgent {
  readonly policy: AddressPolicy
  readonly authorities: string
  readonly filteredLookup: LookupFunction
  constructor(policy: AddressPolicy, options: HttpsAgentOptions) {
    super(options)
    this.policy = policy
    this.authorities = policy.authorities ?? ''
    this.filteredLookup = filterLookup(policy)
  }
  override createConnection(...[options, callback]: Parameters<HttpsAgent['createConnection']>) {
    if (isRefused(options.host, this.policy)) return refuse(callback)
    const { proxy } = this.policy
    if (!proxy)
      return noteChain(
        super.createConnection({ ...options, lookup: this.filteredLookup }, callback),
        this.authorities,
      )
    const connected = this.#tunnelTo(proxy, options).then((tunnel) => {
      // TLS to the server itself, with its name and its authorities: the proxy sees no more than where to.
      const socket = super.createConnection({ ...options, socket: tunnel } as ClientRequestArgs) as Socket
      return noteChain(socket, this.authorities).setTimeout(options.timeout ?? 0)
    })
    connected.then(
      (socket) => callback?.(null, socket),
      (error: Error) => callback?.(error, undefined as never),
    )
    return undefined
  }

  async #tunnelTo(proxy: ForwardProxy, { host, port }: ClientRequestArgs): Promise<Socket> {
    const target = { host: String(host), port: Number(port) }
    await this.#checkName(target.host)
    // The proxy may stand in the private network: whoever runs the service, or an admin, named it.
    const policy = { ...this.policy, allowPrivateNetwork: true }
    if (isRefused(proxy.host, policy)) throw new AddressNotAllowedError()
    const timeoutMs = this.policy.proxyTimeoutMs ?? PROXY_TIMEOUT_MS
    return openTunnel(proxy, target, { timeoutMs, lookup: filterLookup(policy) })
  }

  /**
   * The proxy resolves the name itself. The name that resolves to a refused address here is refused; the name that does
   * not resolve here takes the permission for private addresses. A name that changes in between leads to a handshake of
   * TLS that fails: what answers there has no certificate for the name.
   */
  #checkName(host: string): Promise<void> {
    if (isIP(host) !== 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.filteredLookup(host, { all: true }, (error) => {
        if (!error) return resolve()
        if (error instanceof AddressNotAllowedError) return reject(error)
        return this.policy.allowPrivateNetwork ? resolve() : reject(new ProxyError('name_not_resolved'))
      })
    })
  }
}

/** An agent whose connections lead only to addresses that the policy allows; the requests fail with ADDRESS_NOT_ALLOWED. */
export const createFilteringAgent = (
  protocol: 'http:' | 'https:',
  policy: AddressPolicy,
  options: HttpsAgentOptions,
): HttpAgent =>
  protocol === 'http:' ? new FilteringHttpAgent(policy, options) : new FilteringHttpsAgent(policy, options)
