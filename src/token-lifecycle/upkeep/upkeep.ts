import type { Logger } from 'pino'
import { addSeconds, type Clock } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import { isWaitingCode } from '../../gitlab/owner-refusal.ts'
import type { InstanceClients } from '../../instances/instance-clients.ts'
import type { Lanes } from '../../lanes.ts'
import type { Forecast } from '../../weather/forecast.ts'
import { REFUSAL_BUDGET, RESERVE } from '../../weather/refusal-budget.ts'
import type { Refresher } from '../refresh.ts'
import { type RotateDeps, rotate } from '../rotate.ts'
import { STILL_IN_DOUBT, type StoredTokenVerifier } from '../verify-stored-token.ts'
import {
  type ConnectionToMend,
  findConnectionsToCheck,
  findConnectionsToMend,
  findConnectionsToRotate,
  markExpired,
  postpone,
  putOffRotation,
} from './queries.ts'

/** Bounds what one run asks of GitLab; the rest waits for the next run, a minute later. */
const MOST_PER_RUN = 400
/** GitLab mails people seven days before the end: be earlier. */
const ROTATE_BEFORE_END_SECONDS = 14 * 86_400
/** Just before the next run of the hour. */
const NEXT_RUN_SECONDS = 55 * 60

type MendDeps = {
  db: Database
  clock: Clock
  logger: Logger
  refresher: Refresher
  verifier: StoredTokenVerifier
  instanceClients: InstanceClients
  forecast: Forecast
}

/**
 * Leaves out what may not be tried now: another connection is tried for it, or GitLab has refused too much already. What
 * may be refused again is counted beforehand.
 */
const withinBudget = async (
  { db, clock, forecast: { budget, incidents } }: MendDeps,
  due: ConnectionToMend[],
  { doubtful }: { doubtful: boolean },
): Promise<ConnectionToMend[]> => {
  const planned = new Map<string, number>()
  const isWithin = (row: ConnectionToMend): boolean => {
    if (row.refreshable && incidents.hold(row)) return false
    const isDoubtful = doubtful || !row.refreshable || row.refused_since !== null
    if (!isDoubtful && !incidents.isPartOfAny(row)) return true
    const before = planned.get(row.instance_id) ?? 0
    planned.set(row.instance_id, before + 1)
    return budget.spent(row.instance_id) + before < REFUSAL_BUDGET - RESERVE
  }
  const within: ConnectionToMend[] = []
  const later: ConnectionToMend[] = []
  for (const row of due) (isWithin(row) ? within : later).push(row)
  await postpone(
    db,
    later.map(({ id }) => id),
    new Date(clock()),
  )
  return within
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
  await deps.forecast.follow(deps.instanceClients)
  const due = await withinBudget(deps, await findConnectionsToMend(db, now, MOST_PER_RUN), {
    doubtful: false,
  })
  const unclear: string[] = []
  await lanes.forEach(due, 'mend-connections', async ({ id, token_version, refreshable }) => {
    if (refreshable)
      return refresher.refresh(id, { knownVersion: token_version, onConflict: 'respect', reason: 'retry' })
    const verdict = await verifier.verify(id)
    // A doubt ends by itself within seconds: the next run sees that.
    if (verdict.kind === 'unknown' && verdict.refusal !== STILL_IN_DOUBT) unclear.push(id)
    return verdict
  })
  // Those come again later, and not before others that are due.
  await postpone(db, unclear, now)
  const waiting = await withinBudget(deps, await findConnectionsToCheck(db, now, MOST_PER_RUN), {
    doubtful: true,
  })
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
  await lanes.forEach(due, 'rotate-due', async ({ id }) => {
    try {
      await rotate(deps, id, undefined)
    } catch (error) {
      await putOffRotation(deps.db, id, addSeconds(new Date(deps.clock()), NEXT_RUN_SECONDS))
      throw error
    }
  })
}
