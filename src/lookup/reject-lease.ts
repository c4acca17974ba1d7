import { hasRole, mayActIn, type Principal } from '../access-keys/principal.ts'
import { coalesce } from '../connections/coalesce.ts'
import { isRefreshable } from '../connections/connection.ts'
import { findConnection } from '../connections/queries.ts'
import type { Database } from '../db/database.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { type Credential, type FindDeps, findCredential } from './find-credential.ts'
import { findLease, markLeaseRejected } from './queries.ts'

type Deps = FindDeps & { db: Database }

type Reported = { connectionId: string; tokenVersion: number }

/**
 * "GitLab refused this token." A newer version is answered if there is one; else GitLab is asked, once however many
 * report it. A dead token is refreshed; one that works is said to work.
 * @throws {Problem} not_found, token_works, and those of findCredential, which tell why there is no better token
 */
export const createRejectLease = (deps: Deps) => {
  const { db, clock, verify, refresher } = deps

  /**
   * Asks GitLab, and has a dead token refreshed: a report that comes in between must not ask again. A report on a newer
   * version is another question.
   */
  const settle = coalesce(
    async ({ connectionId, tokenVersion }: Reported) => {
      const verdict = await verify(connectionId)
      const isDead = verdict.kind === 'dead' && verdict.tokenVersion === tokenVersion
      const connection = isDead ? await findConnection(db, connectionId) : undefined
      let failure: unknown
      if (connection && isRefreshable(connection)) {
        // The leases that others hold on it protect nothing.
        const wish = { knownVersion: tokenVersion, onConflict: 'preempt' } as const
        await refresher.refresh(connectionId, wish).catch((error: unknown) => {
          failure = error
        })
      }
      return { verdict, failure }
    },
    ({ connectionId, tokenVersion }) => `${connectionId} ${tokenVersion}`,
  )

  return async (leaseId: string, principal: Principal): Promise<Credential> => {
    const lease = await findLease(db, leaseId)
    const isOwn = lease?.access_key_id === principal.id || hasRole(principal, 'manager')
    if (!lease || !isOwn || !mayActIn(principal, lease.organization)) throw notFound('lease')
    const connection = await findConnection(db, lease.connection_id)
    if (!connection) throw notFound('connection')
    const newest = () =>
      findCredential(deps, connection.id, principal, { minTtl: undefined, onConflict: 'respect' })
    if (connection.token_version > lease.token_version || connection.status !== 'active') {
      await markLeaseRejected(db, lease.id, new Date(clock()))
      return newest()
    }

    const reported = { connectionId: connection.id, tokenVersion: lease.token_version }
    const { verdict, failure } = await settle(reported)
    // Somebody else's report had it replaced meanwhile: what GitLab said is about the newer version.
    if (verdict.tokenVersion > lease.token_version) {
      await markLeaseRejected(db, lease.id, new Date(clock()))
      return newest()
    }
    if (verdict.kind === 'works') {
      throw new Problem(
        'token_works',
        'GitLab accepts this token: the refusal is about the repository, its permissions or the scopes.',
        { members: { connection_id: connection.id, scopes: connection.scopes } },
      )
    }
    // The token changed while GitLab was asked about the old one.
    if (verdict.kind === 'unknown' && verdict.refusal === undefined) return newest()
    if (verdict.kind === 'unknown') {
      throw new Problem('gitlab_unavailable', verdict.refusal?.detail ?? 'The token is changing right now.', {
        retryAfterSeconds: verdict.refusal?.retryAfterSeconds ?? 1,
      })
    }
    await markLeaseRejected(db, lease.id, new Date(clock()))
    if (failure !== undefined) throw failure
    return newest()
  }
}
