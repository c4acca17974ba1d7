import { type SharingDeps, shareStatements } from '../../leases/shared-statements.ts'
import type { KnownBudgets } from '../reach/rate-budgets.ts'
import { leaseByUrl, type UrlLeaseRequest, type UrlLeaseRow } from './queries.ts'

/**
 * No row: no connection can be served, or the match is gone or locked. No lease in the row: what it tells of versions, rivals
 * or a lock stands against it, or the token has to be refreshed.
 */
export type LeaseByUrl = (request: UrlLeaseRequest) => Promise<UrlLeaseRow | undefined>

export const createLeaseByUrl = (deps: SharingDeps, budgets: KnownBudgets): LeaseByUrl =>
  shareStatements(
    (run, requests, now, known) => leaseByUrl(run, requests, { now, known, budgets: budgets.low() }),
    deps,
  )
