import type { Call } from './call.ts'
import { type Credential, extendLease, rejectLease, releaseLease } from './generated.ts'

/**
 * A token on loan. `await using lease = …` gives it back at the end of the block. Where the broker cannot be reached then,
 * the lease ends by itself: what the block came to counts.
 */
export type Lease = AsyncDisposable & {
  /** The newest version: read it anew after `extend` and `reject`. */
  readonly credential: Credential
  /** For a scan that takes longer: the same version while it lives, else the next. */
  extend(minTtlSeconds: number): Promise<Credential>
  /**
   * "GitLab refused this token": the next version, or a BrokerProblem that tells why there is none. `token_works`: the broker asked
   * GitLab about the repository, too, and the next lookup of its URL gets another connection, where one reaches it.
   * @param url where GitLab refused the token; left out: what was looked up by URL
   */
  reject(url?: string): Promise<Credential>
  /** Done with it. Twice does no harm. @throws {BrokerProblem} the lease ends by itself then */
  release(): Promise<void>
}

/** A lease that several users in this process share. */
export type SharedLease = {
  credential: Credential
  /** What was looked up; undefined = a connection. */
  url: string | undefined
  /** GitLab refused the token, and there is no next one: nobody else gets this lease. */
  isRefused: boolean
  /** By the monotonic clock, in milliseconds: how long the broker keeps the version alive for us. */
  until: number
  users: number
  /** Reports on the same version and URL share one request. */
  rejecting: Map<string, Promise<Credential>>
  idle: ReturnType<typeof setTimeout> | undefined
}

/** What the broker leases for when it is not told. */
export const DEFAULT_LEASE_SECONDS = 300

/** A lease lasts for min_ttl, or until the token ends. */
export const leaseEnd = ({ expires_in }: Credential, minTtl: number | undefined): number =>
  performance.now() + Math.min(minTtl ?? DEFAULT_LEASE_SECONDS, expires_in ?? Number.POSITIVE_INFINITY) * 1000

/** What somebody looks up, and for how long. */
export type Wanted = { url: string | undefined; minTtl: number | undefined }

export const createSharedLease = (credential: Credential, { url, minTtl }: Wanted): SharedLease => ({
  credential,
  url,
  isRefused: false,
  until: leaseEnd(credential, minTtl),
  users: 0,
  rejecting: new Map(),
  idle: undefined,
})

/** An older version never takes the place of a newer one. */
const replace = (shared: SharedLease, next: Credential, minTtl: number | undefined): void => {
  const isOlder =
    next.connection_id === shared.credential.connection_id &&
    next.token_version < shared.credential.token_version
  if (isOlder) return
  shared.credential = next
  shared.until = leaseEnd(next, minTtl)
}

/** One user of a shared lease. @param onLast when no user is left */
export const useLease = (
  call: Call,
  shared: SharedLease,
  onLast: (shared: SharedLease) => Promise<void>,
): Lease => {
  let isReleased = false
  shared.users += 1
  /** The version that this user has seen: what it reports is about that one. */
  let seen = shared.credential

  const release = async (): Promise<void> => {
    if (isReleased) return
    isReleased = true
    shared.users -= 1
    if (shared.users === 0) await onLast(shared)
  }

  return {
    get credential() {
      seen = shared.credential
      return seen
    },
    async extend(minTtlSeconds) {
      const { lease_id } = shared.credential
      const next = await call<Credential>((options) =>
        extendLease(lease_id, { min_ttl: minTtlSeconds }, options),
      )
      replace(shared, next, minTtlSeconds)
      seen = shared.credential
      return seen
    },
    async reject(url = shared.url) {
      const { lease_id, token_version } = seen
      // Another user of this process reported the same version before.
      if (token_version < shared.credential.token_version) {
        seen = shared.credential
        return seen
      }
      const name = `${token_version} ${url ?? ''}`
      const known = shared.rejecting.get(name)
      const query = url === undefined ? {} : { url }
      const rejecting = known ?? call<Credential>((options) => rejectLease(lease_id, query, options))
      if (!known) {
        shared.rejecting.set(name, rejecting)
        void rejecting.finally(() => shared.rejecting.delete(name)).catch(() => undefined)
      }
      try {
        replace(shared, await rejecting, undefined)
      } catch (error) {
        shared.isRefused = true
        throw error
      }
      seen = shared.credential
      return seen
    },
    release,
    [Symbol.asyncDispose]: () => release().catch(() => undefined),
  }
}

export const releaseShared = (call: Call, { credential }: SharedLease): Promise<void> =>
  call((options) => releaseLease(credential.lease_id, options))
