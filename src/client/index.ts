import { type BrokerProblem, toBrokerProblem } from './broker-problem.ts'
import { type ClientSettings, createCall, DEFAULT_PATIENCE_SECONDS } from './call.ts'
import {
  type Credential,
  findCredential,
  getCredential,
  getCredentials,
  type Preflight,
  preflightCredential,
} from './generated.ts'
import { createSharedLease, type Lease, releaseShared, useLease } from './lease.ts'
import { createSharing } from './sharing.ts'

export type { Action } from './actions.ts'
export { ACTIONS, actionFor } from './actions.ts'
export { BrokerProblem } from './broker-problem.ts'
export type { ClientSettings } from './call.ts'
export type { Credential, Preflight, Problem } from './generated.ts'
export type { Lease } from './lease.ts'

/** One of a batch: by `url` or by `connection_id`. */
export type CredentialRequest = Parameters<typeof getCredentials>[0]['requests'][number]

export type LookUp = {
  organization?: string
  /** Seconds that the token has to live. Left out: 300 are preferred, less is accepted. */
  minTtl?: number
  /** For the record, such as the id of the scan. */
  purpose?: string
}

/** Throw this in the callback of withCredential, or any error with `status` 401, when GitLab refuses the token. */
export class TokenRefused extends Error {
  readonly status = 401
}

export type BrokerClient = AsyncDisposable & {
  /** A token for a repository or group. Look up when the job starts, not when it is queued. @throws {BrokerProblem} */
  lookUp(url: string, options?: LookUp): Promise<Lease>
  /** A token of a connection. @throws {BrokerProblem} */
  lookUpConnection(id: string, options?: Omit<LookUp, 'organization'>): Promise<Lease>
  /**
   * Runs a job with a token, and gives the token back. When GitLab refuses the token, the job runs once more with the
   * next one.
   */
  withCredential<Result>(
    url: string,
    job: (credential: Credential, lease: Lease) => Promise<Result>,
    options?: LookUp,
  ): Promise<Result>
  /** Up to 1,000 at once; each is a lease, or the problem that kept it from being one. */
  batch(
    requests: CredentialRequest[],
    options?: { idempotencyKey?: string; waitSeconds?: number },
  ): Promise<(Lease | BrokerProblem)[]>
  /** Whether repositories can be scanned. */
  preflight(urls: string[], options?: { organization?: string; scanSeconds?: number }): Promise<Preflight[]>
  /** Gives back every lease that is kept. */
  close(): Promise<void>
}

/** A lease that is not given back ends by itself. */
const RELEASE_PATIENCE_SECONDS = 5

const isRefusal = (error: unknown): boolean => (error as { status?: unknown } | undefined)?.status === 401

const withOrganization = <Options extends { organization?: string }>(
  settings: ClientSettings,
  options: Options,
): Options => {
  const organization = options.organization ?? settings.organization
  return organization === undefined ? options : { ...options, organization }
}

export const createBrokerClient = (settings: ClientSettings): BrokerClient => {
  const call = createCall(settings)
  const { patienceSeconds = DEFAULT_PATIENCE_SECONDS } = settings
  const giveBack = createCall({
    ...settings,
    patienceSeconds: Math.min(patienceSeconds, RELEASE_PATIENCE_SECONDS),
  })
  const sharing = createSharing({ call, giveBack }, settings.keepSeconds)
  const { lease } = sharing

  const client: BrokerClient = {
    lookUp(url, options = {}) {
      const query = withOrganization(settings, options)
      return lease(`${query.organization ?? ''} ${url}`, query.minTtl, () =>
        call((request) => findCredential(url, query, request)),
      )
    },
    lookUpConnection: (id, options = {}) =>
      lease(id, options.minTtl, () => call((request) => getCredential(id, options, request))),
    async withCredential(url, job, options) {
      const borrowed = await client.lookUp(url, options)
      try {
        return await job(borrowed.credential, borrowed)
      } catch (error) {
        if (!isRefusal(error)) throw error
        return await job(await borrowed.reject(), borrowed)
      } finally {
        // A job that took hours is not lost because the broker is away for a moment.
        await borrowed[Symbol.asyncDispose]()
      }
    },
    async batch(requests, { idempotencyKey, waitSeconds } = {}) {
      const headers = {
        ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
        ...(waitSeconds === undefined ? {} : { prefer: `wait=${waitSeconds}` }),
      }
      const body = {
        requests: requests.map((request) =>
          // What is no request at all is answered by a problem of its own, as is every malformed one.
          isObject(request) && request.connection_id === undefined
            ? withOrganization(settings, request)
            : request,
        ),
      }
      const { results } = await call<{ results: unknown[] }>(
        (request) => getCredentials(body, {}, request),
        headers,
      )
      return results.map((result, position) => {
        if (!isCredential(result)) return toBrokerProblem(0, result)
        const shared = createSharedLease(result, requests[position]?.min_ttl)
        return useLease(call, shared, (last) => releaseShared(giveBack, last))
      })
    },
    async preflight(urls, options = {}) {
      const { organization, scanSeconds } = withOrganization(settings, options)
      const body = {
        urls,
        ...(organization === undefined ? {} : { organization }),
        ...(scanSeconds === undefined ? {} : { scan_seconds: scanSeconds }),
      }
      const { results } = await call<{ results: Preflight[] }>((request) =>
        preflightCredential(body, request),
      )
      return results
    },
    close: sharing.close,
    [Symbol.asyncDispose]: () => client.close(),
  }
  return client
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isCredential = (result: unknown): result is Credential =>
  isObject(result) && 'lease_id' in result && 'token' in result
