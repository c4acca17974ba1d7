import { type AuditActor, recordAuditEvent } from '../audit/queries.ts'
import type { Clock } from '../clock/clock.ts'
import { retryAfterSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { tokenInUse } from '../token-lifecycle/claim.ts'
import { type ConnectionWithInstance, findConnection } from '../token-lifecycle/queries.ts'
import type { Refresher } from '../token-lifecycle/refresh.ts'
import { isRefreshable, type OnConflict } from '../token-lifecycle/refresh-decision.ts'

/**
 * Refreshes a connection because a manager asks for it. Who asked is recorded first: the event of the new token names
 * nobody, since several may have asked for it.
 * @throws {Problem} not_refreshable, token_in_use, gitlab_unavailable, oauth_app_rejected, needs_reauthorization
 */
export const refreshNow = async (
  { db, clock, refresher }: { db: Database; clock: Clock; refresher: Refresher },
  row: ConnectionWithInstance,
  onConflict: OnConflict,
  actor: AuditActor,
): Promise<void> => {
  if (!isRefreshable(row)) {
    throw new Problem(
      'not_refreshable',
      'Without a refresh token and its OAuth app there is nothing to refresh with.',
    )
  }
  await recordAuditEvent(db, {
    at: new Date(clock()),
    action: 'connection.updated',
    organization: row.organization,
    subjectId: row.id,
    details: { change: 'refresh asked for', token_version: row.token_version, on_conflict: onConflict },
    ...actor,
  })
  const request = { knownVersion: row.token_version, onConflict, reason: 'asked_by_manager' } as const
  const outcome = await refresher.refresh(row.id, request)
  const now = new Date(clock())
  switch (outcome.kind) {
    case 'newer_version':
      return
    case 'pending':
      throw goesOn()
    case 'in_use':
      throw tokenInUse(outcome.until, now, { canPreempt: true })
    case 'failing': {
      const code = outcome.code === 'oauth_app_rejected' ? outcome.code : 'gitlab_unavailable'
      const cause =
        (await findConnection(db, row.id))?.failure_detail ?? 'GitLab gives no new token right now.'
      throw new Problem(code, `${cause} The service tries again by itself.`, {
        retryAfterSeconds: retryAfterSeconds(outcome.until, now),
      })
    }
    case 'read_again': {
      const current = await findConnection(db, row.id)
      if (!current) throw notFound('connection')
      // Another writer took the claim over.
      if (current.status === 'active') throw goesOn()
      throw new Problem('needs_reauthorization', current.status_detail ?? undefined)
    }
  }
}

const goesOn = (): Problem =>
  new Problem(
    'gitlab_unavailable',
    'GitLab has not answered yet. The refresh goes on, and a late answer is saved.',
    {
      retryAfterSeconds: 5,
    },
  )
