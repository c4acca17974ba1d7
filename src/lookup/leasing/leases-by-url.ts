import type { LeaseRow } from '../../leases/lease.ts'
import { type SharingDeps, shareStatements } from '../../leases/shared-statements.ts'
import {
  leaseByMatch,
  leaseByUrl,
  type MatchLeaseRequest,
  type MatchLeaseRow,
  type UrlLeaseRequest,
} from './queries.ts'

export type LeasesByUrl = {
  /** No row, or no lease in it: the match may no longer hold, or the connection is locked. */
  leaseByMatch(request: MatchLeaseRequest): Promise<MatchLeaseRow | undefined>
  /** No row, or no lease in it: the rules of url-match.ts have to decide. */
  leaseByUrl(request: UrlLeaseRequest): Promise<LeaseRow | undefined>
}

export const createLeasesByUrl = (deps: SharingDeps): LeasesByUrl => ({
  leaseByMatch: shareStatements(leaseByMatch, deps),
  leaseByUrl: shareStatements(leaseByUrl, deps),
})
