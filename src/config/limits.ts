/** How much one caller, address or link may ask for. Each number is per minute; 0 = no limit. */
export type LimitSettings = {
  /** Of one access key, in one process. */
  requestsPerKey: number
  /** Of one access key, in one process. */
  connectSessionsPerKey: number
  /** Of one connect link, in one process. */
  flowStartsPerLink: number
  /** Of one access key and of one address, over all replicas: what GitLab says of a token is worth something to a thief. */
  tokenChecks: number
  /** Of one address, over all replicas. */
  wrongKeys: number
  /** Of one address, over all replicas. */
  failedSignIns: number
  /** Open at once, of one address that is no trusted proxy. */
  socketsPerAddress: number
  /** Open at once, of all. */
  sockets: number
  /** Milliseconds that the event loop may run late, on average over three seconds, before requests are turned away. */
  lateMs: number
}

export const DEFAULT_LIMITS: LimitSettings = {
  // Twice what one process answers on two cores: no honest client comes there. Lower it where keys are many.
  requestsPerKey: 3_000_000,
  connectSessionsPerKey: 1_000,
  flowStartsPerLink: 60,
  tokenChecks: 6_000,
  wrongKeys: 300,
  failedSignIns: 20,
  socketsPerAddress: 1_000,
  sockets: 4_000,
  lateMs: 2_000,
}
