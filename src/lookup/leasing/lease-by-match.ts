import { type SharingDeps, shareStatements } from '../../leases/shared-statements.ts'
import { leaseByMatch, type MatchLeaseRequest, type MatchLeaseRow } from './queries.ts'

/**
 * No row: the connection is gone or locked, or the key may not use it. No lease in the row: its versions stand against
 * it, or the token has to be refreshed.
 */
export type LeaseByMatch = (request: MatchLeaseRequest) => Promise<MatchLeaseRow | undefined>

export const createLeaseByMatch = (deps: SharingDeps): LeaseByMatch => shareStatements(leaseByMatch, deps)
