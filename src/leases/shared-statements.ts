import type { Clock } from '../clock/clock.ts'
import type { RunPrepared } from '../db/database.ts'
import { shareCalls } from '../share.ts'
import type { Heartbeat } from '../token-lifecycle/history/queries.ts'
import type { DatabaseHistory } from '../token-lifecycle/history/watch-history.ts'
import type { LeaseRow } from './lease.ts'
import { isVisible, type LeaseByIdRequest, leaseById } from './queries.ts'

type Run<Request, Row> = (
  run: RunPrepared,
  requests: Request[],
  now: Date,
  known: Heartbeat | undefined,
) => Promise<Row[]>

/** Whether the database went back; nobody asks when left out. */
type LeaseHistory = Pick<DatabaseHistory, 'known' | 'suspect' | 'requireSettled'>

export type SharingDeps = { runPrepared: RunPrepared; clock: Clock; slowMs?: number; history?: LeaseHistory }

/**
 * Lookups that arrive while a statement is in flight share the next one (share.ts).
 * @returns what runs a request in a shared statement; undefined = the statement has no row for it.
 */
export const shareStatements = <Request extends { leaseId: string }, Row extends LeaseRow>(
  statement: Run<Request, Row>,
  { runPrepared, clock, slowMs, history }: SharingDeps,
): ((request: Request) => Promise<Row | undefined>) =>
  shareCalls(
    async (requests: Request[]) => {
      history?.requireSettled()
      const rows = await statement(runPrepared, requests, new Date(clock()), history?.known())
      if (history && rows.some(({ refused }) => refused?.database_went_back)) {
        history.suspect()
        history.requireSettled()
      }
      const byLease = new Map(rows.map((row) => [row.lease_id, row]))
      return requests.map(({ leaseId }) => byLease.get(leaseId))
    },
    { slowMs },
  )

export type LeasesById = {
  /** undefined = no such connection for this access key, no such key any more, or the connection is locked. */
  lease(request: LeaseByIdRequest): Promise<LeaseRow | undefined>
  /** true: the row exists but is locked. false: this key may not see it. */
  isLocked(request: LeaseByIdRequest): Promise<boolean>
}

export const createLeasesById = (deps: SharingDeps): LeasesById => ({
  lease: shareStatements(leaseById, deps),
  isLocked: (request) => isVisible(deps.runPrepared, request, new Date(deps.clock())),
})
