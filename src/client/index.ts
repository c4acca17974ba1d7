import { type BrokerProblem, toBrokerProblem } from './broker-problem.ts'
import { type ClientSettings, createCall } from './call.ts'
import {
  type Credential,
  findCredential,
  getCredential,
  getCredentials,
  type Preflight,
  preflightCredential,
} from './generated.ts'
import { createSharedLease, type Lease, releaseShared, type SharedLease, useLease } from './lease.ts'

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

/** Without a min_ttl a shared lease is good for another user while it lasts this long. */
const SHARED_SECONDS = 60

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
  const keepMs = (settings.keepSeconds ?? 0) * 1000
  const kept = new Map<string, Promise<SharedLease>>()

  const drop = async (name: string, shared: SharedLease): Promise<void> => {
    clearTimeout(shared.idle)
    if ((await kept.get(name)) === shared) kept.delete(name)
    await releaseShared(call, shared)
  }

  /** Users at the same time share a lease, when it lasts long enough for each. */
  const lease = async (
    name: string,
    minTtl: number | undefined,
    ask: () => Promise<Credential>,
  ): Promise<Lease> => {
    const onLast = async (shared: SharedLease): Promise<void> => {
      const left = shared.until - performance.now()
      if (keepMs === 0 || left <= 0 || (await kept.get(name)) !== shared) return drop(name, shared)
      // Given back by itself; a process that ends first leaves that to the end of the lease.
      shared.idle = setTimeout(() => void drop(name, shared).catch(() => undefined), Math.min(keepMs, left))
      shared.idle.unref()
    }
    const known = kept.get(name)
    const shared = await known?.catch(() => undefined)
    if (shared && shared.until - performance.now() >= (minTtl ?? SHARED_SECONDS) * 1000) {
      clearTimeout(shared.idle)
      return useLease(call, shared, onLast)
    }
    // Another caller was faster: look again.
    if (known !== kept.get(name)) return lease(name, minTtl, ask)
    const asked = ask().then((credential) => createSharedLease(credential, minTtl))
    kept.set(name, asked)
    try {
      return useLease(call, await asked, onLast)
    } catch (error) {
      if (kept.get(name) === asked) kept.delete(name)
      throw error
    }
  }

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
      await using borrowed = await client.lookUp(url, options)
      try {
        return await job(borrowed.credential, borrowed)
      } catch (error) {
        if (!isRefusal(error)) throw error
        return job(await borrowed.reject(), borrowed)
      }
    },
    async batch(requests, { idempotencyKey, waitSeconds } = {}) {
      const headers = {
        ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
        ...(waitSeconds === undefined ? {} : { prefer: `wait=${waitSeconds}` }),
      }
      const body = {
        requests: requests.map((request) =>
          request.connection_id === undefined ? withOrganization(settings, request) : request,
        ),
      }
      const { results } = await call<{ results: unknown[] }>(
        (request) => getCredentials(body, {}, request),
        headers,
      )
      return results.map((result, position) => {
        if (!isCredential(result)) return toBrokerProblem(0, result)
        const shared = createSharedLease(result, requests[position]?.min_ttl)
        return useLease(call, shared, (last) => releaseShared(call, last))
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
    async close() {
      const all = await Promise.allSettled(kept.values())
      kept.clear()
      const leases = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
      for (const shared of leases) clearTimeout(shared.idle)
      await Promise.allSettled(leases.map((shared) => releaseShared(call, shared)))
    },
    [Symbol.asyncDispose]: () => client.close(),
  }
  return client
}

const isCredential = (result: unknown): result is Credential =>
  typeof result === 'object' && result !== null && 'lease_id' in result && 'token' in result
