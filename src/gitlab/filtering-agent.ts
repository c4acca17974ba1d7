import { lookup as systemLookup } from 'node:dns'
import { type ClientRequestArgs, Agent as HttpAgent, type AgentOptions as HttpAgentOptions } from 'node:http'
import { Agent as HttpsAgent, type AgentOptions as HttpsAgentOptions } from 'node:https'
import { isIP, type LookupFunction, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { isAddressAllowed } from './addresses.ts'

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
}

/** The addresses that are checked here are those that Node then connects to: a name cannot change in between. */
const filterLookup =
  ({ allowPrivateNetwork, lookup = systemLookup as LookupFunction }: AddressPolicy): LookupFunction =>
  (hostname, options, callback) =>
    lookup(hostname, options, (error, found, family) => {
      if (error) return callback(error, found, family)
      const addresses = typeof found === 'string' ? [found] : found.map(({ address }) => address)
      if (addresses.every((address) => isAddressAllowed(address, allowPrivateNetwork)))
        return callback(null, found, family)
      return callback(new AddressNotAllowedError(), found, family)
    })

/** Node asks the lookup for names alone: an address in the URL is looked at before. */
const isRefused = ({ host }: ClientRequestArgs, { allowPrivateNetwork }: AddressPolicy): boolean =>
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
    if (isRefused(options, this.policy)) return refuse(callback)
    return super.createConnection({ ...options, lookup: this.filteredLookup }, callback)
  }
}

class FilteringHttpsAgent extends HttpsAgent {
  readonly policy: AddressPolicy
  readonly filteredLookup: LookupFunction
  constructor(policy: AddressPolicy, options: HttpsAgentOptions) {
    super(options)
    this.policy = policy
    this.filteredLookup = filterLookup(policy)
  }
  override createConnection(...[options, callback]: Parameters<HttpsAgent['createConnection']>) {
    if (isRefused(options, this.policy)) return refuse(callback)
    return super.createConnection({ ...options, lookup: this.filteredLookup }, callback)
  }
}

/** An agent whose connections lead only to addresses that the policy allows; the requests fail with ADDRESS_NOT_ALLOWED. */
export const createFilteringAgent = (
  protocol: 'http:' | 'https:',
  policy: AddressPolicy,
  options: HttpsAgentOptions,
): HttpAgent =>
  protocol === 'http:' ? new FilteringHttpAgent(policy, options) : new FilteringHttpsAgent(policy, options)
