import type { ProxyFault } from '../errors/proxy-faults.ts'
import type { TransportFailure } from './transport-failure.ts'

const SENTENCES: Record<ProxyFault, (baseUrl: string, status: number | undefined) => string> = {
  proxy_unreachable: (baseUrl) => `The proxy on the way to ${baseUrl} cannot be reached, or does not answer.`,
  credentials_required: (baseUrl) =>
    `The proxy on the way to ${baseUrl} asks for credentials (407), or refuses those of HTTPS_PROXY.`,
  target_unreachable: (baseUrl, status) => `The proxy on the way to ${baseUrl} cannot reach it (${status}).`,
  refused: (baseUrl, status) => `The proxy on the way to ${baseUrl} refused to connect to it (${status}).`,
  name_not_resolved: (baseUrl) =>
    `The name of ${baseUrl} does not resolve here, so nobody can tell to which address the proxy would connect. Where only the proxy resolves names, an admin can allow it for the instance (allow_private_network).`,
}

/** Why the proxy let nothing through: GitLab has not said anything. */
export const proxySentence = (
  { proxyFault = 'refused', proxyStatus }: TransportFailure,
  baseUrl: string,
): string => SENTENCES[proxyFault](baseUrl, proxyStatus)
