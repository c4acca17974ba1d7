/** Why a proxy on the way to GitLab let nothing through: member `proxy_fault` of `gitlab_unavailable`. */
export const PROXY_FAULTS = [
  /** No connection to the proxy, or no answer of it in time. */
  'proxy_unreachable',
  /** 407. */
  'credentials_required',
  /** 502, 503 or 504: the proxy does not reach the server. */
  'target_unreachable',
  /** Anything else but 2xx. */
  'refused',
  /** The name of the server does not resolve here, so that nobody can tell where the proxy would connect to. */
  'name_not_resolved',
] as const

export type ProxyFault = (typeof PROXY_FAULTS)[number]
