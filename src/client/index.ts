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

/** Throw this in the callback of withCredential, or any error with `status` 401, when GitLab refuses the token or hides the repository. */
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
   * next one, or with that of another connection that reaches the URL.
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
      return lease(`${query.organization ?? ''} ${url}`, { url, minTtl: query.minTtl }, () =>
        call((request) => findCredential(url, query, request)),
      )
    },
    lookUpConnection: (id, options = {}) =>
      lease(id, { url: undefined, minTtl: options.minTtl }, () =>
        call((request) => getCredential(id, options, request)),
      ),
    withCredential: (url, job, options) => runWithCredential(() => client.lookUp(url, options), job),
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
        const shared = createSharedLease(result, {
          url: requests[position]?.url,
          minTtl: requests[position]?.min_ttl,
        })
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

/** Runs a job, and once more with another token when GitLab refuses the first one. */
const runWithCredential = async <Result>(
  lookUp: () => Promise<Lease>,
  job: (credential: Credential, lease: Lease) => Promise<Result>,
): Promise<Result> => {
  const borrowed = await lookUp()
  let other: Lease | undefined
  try {
    return await job(borrowed.credential, borrowed)
  } catch (error) {
    if (!isRefusal(error)) throw error
    const next = await borrowed.reject().catch(async (problem: unknown) => {
      other = await lookUpOther(lookUp, borrowed)
      if (!other) throw problem
      return other.credential
    })
    return await job(next, other ?? borrowed)
  } finally {
    // A job that took hours is not lost because the broker is away for a moment.
    for (const lease of [borrowed, other]) await lease?.[Symbol.asyncDispose]()
  }
}

/** After a rejection: the lease of another connection, or of another version; undefined: there is none. */
const lookUpOther = async (lookUp: () => Promise<Lease>, refused: Lease): Promise<Lease | undefined> => {
  const other = await lookUp().catch(() => undefined)
  const { connection_id, token_version } = refused.credential
  const isSame =
    other?.credential.connection_id === connection_id && other.credential.token_version === token_version
  if (!isSame) return other
  await other[Symbol.asyncDispose]()
  return undefined
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isCredential = (result: unknown): result is Credential =>
  isObject(result) && 'lease_id' in result && 'token' in result
