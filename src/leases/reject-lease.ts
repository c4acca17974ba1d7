import { hasRole, mayActIn, type Principal } from '../callers/principal.ts'
import { type Patience, startPatience } from '../clock/patience.ts'
import { coalesce } from '../coalesce.ts'
import type { Database } from '../db/database.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { type ConnectionWithInstance, findConnection } from '../token-lifecycle/queries.ts'
import { isRefreshable } from '../token-lifecycle/refresh-decision.ts'
import { isHeldBy } from './lease.ts'
import { type LeaseDeps, type LeasedToken, leaseTokenOf } from './lease-token.ts'
import { findLease, markLeaseRejected } from './queries.ts'
import type { Delivery } from './serving-decision.ts'

/** Somebody says that GitLab refuses a token that works, for the repository of a URL. */
export type RefusedAt = { connection: Pick<ConnectionWithInstance, 'id' | 'organization'>; url: string }

type Deps = LeaseDeps & {
  db: Database
  /** Asks GitLab whether that is so, for the lookups to come. Never throws. */
  learnRefusal(principal: Principal, refused: RefusedAt): Promise<void>
}

type Reported = { connectionId: string; tokenVersion: number; patience: Patience }

/**
 * "GitLab refused this token."
 *
 * - There is a newer version: that is the answer.
 * - Otherwise asks GitLab, once for all reports on the same version.
 * - The token is dead: has it refreshed, and the new one is the answer.
 * - The token works: token_works.
 */
export type Rejections = {
  /** @throws {Problem} not_found, token_works, and those of leaseTokenOf, which tell why there is no better token */
  reject(leaseId: string, principal: Principal, options?: RejectOptions): Promise<LeasedToken>
  /**
   * The same without an answer: whoever reports asks for the next token by itself.
   * @returns the connection whose token was rejected.
   * @throws {Problem} not_found, token_works, gitlab_unavailable
   */
  report(leaseId: string, principal: Principal, options?: Pick<RejectOptions, 'url'>): Promise<string>
}
/** @property url of the repository at which GitLab refused the token; undefined = nobody says. */
type RejectOptions = { url?: string | undefined; delivery?: Delivery | undefined }

const tokenWorks = ({ id, scopes }: ConnectionWithInstance): Problem =>
  new Problem(
    'token_works',
    'GitLab accepts this token: the refusal is about the repository, its permissions or the scopes.',
    { members: { connection_id: id, scopes } },
  )

export const createRejections = (deps: Deps): Rejections => {
  const { db, clock, verifier, refresher } = deps

  /**
   * Asks GitLab, and has a dead token refreshed. Reports on the same version share both. A report on a newer version
   * asks anew.
   */
  const settle = coalesce(
    async ({ connectionId, tokenVersion, patience }: Reported) => {
      const verdict = await verifier.verify(connectionId, patience)
      const isDead = verdict.kind === 'dead' && verdict.tokenVersion === tokenVersion
      const connection = isDead ? await findConnection(db, connectionId) : undefined
      let failure: unknown
      if (connection && isRefreshable(connection)) {
        // The leases of others on a dead token protect nothing.
        const request = {
          knownVersion: tokenVersion,
          onConflict: 'preempt',
          reason: 'refused_by_gitlab',
        } as const
        await refresher.refresh(connectionId, request, patience).catch((error: unknown) => {
          failure = error
        })
      }
      return { verdict, failure }
    },
    ({ connectionId, tokenVersion }) => `${connectionId} ${tokenVersion}`,
  )

  const report = async (
    leaseId: string,
    principal: Principal,
    { url, patience }: { url: string | undefined; patience: Patience },
  ): Promise<string> => {
    const lease = await findLease(db, leaseId)
    const may = lease && (isHeldBy(lease, principal) || hasRole(principal, 'manager'))
    if (!may || !mayActIn(principal, lease.organization)) throw notFound('lease')
    const connection = await findConnection(db, lease.connection_id)
    if (!connection) throw notFound('connection')
    if (connection.token_version > lease.token_version || connection.status !== 'active') {
      await markLeaseRejected(db, lease.id, new Date(clock()))
      return connection.id
    }

    const reported = { connectionId: connection.id, tokenVersion: lease.token_version, patience }
    const { verdict, failure } = await settle(reported)
    // Another report had the token replaced meanwhile: GitLab's answer is about the newer version.
    if ((verdict.tokenVersion ?? 0) > lease.token_version) {
      await markLeaseRejected(db, lease.id, new Date(clock()))
      return connection.id
    }
    if (verdict.kind === 'works') {
      if (url !== undefined) await deps.learnRefusal(principal, { connection, url })
      throw tokenWorks(connection)
    }
    // The token changed while GitLab was asked about the old one.
    if (verdict.kind === 'unknown' && verdict.refusal === undefined) return connection.id
    if (verdict.kind === 'unknown') {
      throw new Problem('gitlab_unavailable', verdict.refusal?.detail ?? 'The token is changing right now.', {
        retryAfterSeconds: verdict.refusal?.retryAfterSeconds ?? 1,
      })
    }
    await markLeaseRejected(db, lease.id, new Date(clock()))
    if (failure !== undefined) throw failure
    return connection.id
  }

  return {
    report: (leaseId, principal, { url } = {}) =>
      report(leaseId, principal, { url, patience: startPatience() }),
    async reject(leaseId, principal, { url, delivery } = {}) {
      // For all of it: who reports waits no longer than who looks up.
      const patience = startPatience()
      const id = await report(leaseId, principal, { url, patience })
      const options = { minTtl: undefined, onConflict: 'respect', delivery } as const
      return leaseTokenOf(deps, id, principal, options, patience)
    },
  }
}
