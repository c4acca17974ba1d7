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

export const createLeasesByUrl = (deps: SharingDeps): LeasesByUrl => {
  // One statement takes requests with organizations, the other those without.
  const withinOrganizations = shareStatements(leaseByUrl, deps)
  const anywhere = shareStatements(leaseByUrl, deps)
  return {
    leaseByMatch: shareStatements(leaseByMatch, deps),
    leaseByUrl: (request) => (request.organizations ? withinOrganizations(request) : anywhere(request)),
  }
}
