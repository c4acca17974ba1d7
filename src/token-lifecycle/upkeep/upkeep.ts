import type { Logger } from 'pino'
import type { Clock } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import { isWaitingCode } from '../../gitlab/owner-refusal.ts'
import type { Lanes } from '../../lanes.ts'
import type { Refresher } from '../refresh.ts'
import { type RotateDeps, rotate } from '../rotate.ts'
import type { StoredTokenVerifier } from '../verify-stored-token.ts'
import {
  type ConnectionToMend,
  findConnectionsToCheck,
  findConnectionsToMend,
  findConnectionsToRotate,
  markExpired,
} from './queries.ts'

/** Bounds what one run asks of GitLab; the rest waits for the next run, a minute later. */
const MOST_PER_RUN = 400
/** GitLab mails people seven days before the end: be earlier. */
const ROTATE_BEFORE_END_SECONDS = 14 * 86_400

type MendDeps = {
  db: Database
  clock: Clock
  logger: Logger
  refresher: Refresher
  verifier: StoredTokenVerifier
}

/**
 * Asks GitLab whether it still refuses the owner. A token that has ended is refreshed for that, once in its life: GitLab
 * gives a new one to a blocked owner too.
 */
const checkOwner = async (
  { refresher, verifier }: MendDeps,
  { id, token_version, refreshable }: ConnectionToMend,
): Promise<void> => {
  const verdict = await verifier.verify(id)
  if (!refreshable || verdict.kind !== 'dead' || isWaitingCode(verdict.refusal.code)) return
  const request = { knownVersion: token_version, onConflict: 'respect', reason: 'owner_check' } as const
  const outcome = await refresher.refresh(id, request)
  if (outcome.kind === 'newer_version') await verifier.verify(id)
}

/** Tries again what went wrong, so that a connection does not wait for its next lookup, and marks what has ended. */
export const mendDue = async (deps: MendDeps, lanes: Lanes): Promise<void> => {
  const { db, clock, logger, refresher, verifier } = deps
  const now = new Date(clock())
  const due = await findConnectionsToMend(db, now, MOST_PER_RUN)
  await lanes.forEach(due, 'mend-connections', ({ id, token_version, refreshable }) =>
    refreshable
      ? refresher.refresh(id, { knownVersion: token_version, onConflict: 'respect', reason: 'retry' })
      : verifier.verify(id),
  )
  const waiting = await findConnectionsToCheck(db, now, MOST_PER_RUN)
  await lanes.forEach(waiting, 'check-owners', (connection) => checkOwner(deps, connection))
  const expired = await markExpired(db, now)
  const tried = due.length + waiting.length
  if (tried + expired > 0) logger.info({ tried, expired }, 'connections mended')
}

/** Rotates the access tokens that are near their end and may be rotated. */
export const rotateDue = async (deps: RotateDeps, lanes: Lanes): Promise<void> => {
  const due = await findConnectionsToRotate(deps.db, {
    now: new Date(deps.clock()),
    withinSeconds: ROTATE_BEFORE_END_SECONDS,
    limit: MOST_PER_RUN,
  })
  await lanes.forEach(due, 'rotate-due', ({ id }) => rotate(deps, id, undefined))
}
