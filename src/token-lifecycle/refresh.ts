import type { Patience } from '../clock/patience.ts'
import { startPatience } from '../clock/patience.ts'
import type { RunPrepared } from '../db/database.ts'
import { isWaitingCode } from '../gitlab/owner-refusal.ts'
import type { Attempts } from './attempts.ts'
import { type ClaimState, createSharedClaims } from './claim.ts'
import { createClearClaims } from './claims/clear-claims.ts'
import { createMarkSent } from './claims/sendings.ts'
import { attemptRefresh, type RefreshAttemptDeps } from './refresh-attempt.ts'
import {
  decideRefresh,
  type FailureCode,
  isRefreshable,
  type RefreshDecision,
  type RefreshOutcome,
  type RefreshRequest,
} from './refresh-decision.ts'

export type Refresher = {
  /**
   * Replaces a token version, once: calls in this process share one attempt, and a claim in the row keeps other
   * replicas out. No database connection is held while GitLab is asked. The caller waits for as long as it has
   * patience, the attempt for minutes.
   */
  refresh(connectionId: string, request: RefreshRequest, patience?: Patience): Promise<RefreshOutcome>
}

type Deps = RefreshAttemptDeps & { attempts: Attempts; runPrepared: RunPrepared }

export const createRefresher = (deps: Deps): Refresher => {
  const claimClear = createClearClaims(deps)
  const claim = createSharedClaims<Stopped>(deps)
  const markSent = createMarkSent(deps)

  const refreshOnce = async (connectionId: string, request: RefreshRequest): Promise<RefreshOutcome> => {
    const clear = await claimClear(connectionId, request)
    if (clear) return attemptRefresh({ ...deps, markSent }, clear, request.reason)
    const patience = startPatience()
    for (;;) {
      const { ownLease } = request
      const result = await claim({ connectionId, kind: 'refresh', decide: decide(request), ownLease })
      if (!result) return { kind: 'read_again' }
      if ('claim' in result) return attemptRefresh({ ...deps, markSent }, result.claim, request.reason)
      const { decision } = result
      if (decision.action === 'stop') return toOutcome(decision)
      if (patience.isOver()) return { kind: 'pending' }
      await patience.pause()
    }
  }

  return {
    async refresh(connectionId, request, patience = startPatience()) {
      // The answer to a caller that respects leases is not enough for one that preempts them, or that holds one.
      const key = ['refresh', connectionId, request.onConflict, request.ownLease].join(' ')
      const outcome = await deps.attempts.run(key, () => refreshOnce(connectionId, request), patience)
      return outcome ?? { kind: 'pending' }
    },
  }
}

const toOutcome = (decision: Extract<Stopped, { action: 'stop' }>): RefreshOutcome => {
  switch (decision.reason) {
    case 'newer_version':
      return { kind: 'newer_version' }
    case 'in_use':
      return { kind: 'in_use', until: decision.until }
    case 'backing_off':
      return { kind: 'failing', code: decision.failureCode ?? 'gitlab_unavailable', until: decision.until }
    default:
      return { kind: 'read_again' }
  }
}

type Stopped = Exclude<RefreshDecision, { action: 'claim' }> & { failureCode: FailureCode | null }

const decide =
  (request: RefreshRequest) =>
  ({ row, leasedUntil, now }: ClaimState) => {
    const refreshable = isRefreshable(row)
    const waitsForOwner = isWaitingCode(row.status_reason)
    const decision = decideRefresh({ ...row, refreshable, waitsForOwner, leasedUntil }, request, now)
    if (decision.action === 'claim') return 'claim'
    return { ...decision, failureCode: row.failure_code as FailureCode | null }
  }
