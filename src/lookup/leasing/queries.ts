import type { RunPrepared } from '../../db/database.ts'
import type { LeaseRequest, LeaseRow } from '../../leases/lease.ts'
import {
  arrayOf,
  leaseStatement,
  REQUEST_COLUMNS,
  REQUEST_PARAMETERS,
  runLeaseStatement,
} from '../../leases/queries.ts'
import type { Heartbeat } from '../../token-lifecycle/history/queries.ts'
import type { Match } from '../directories.ts'
import { DIRECTORY_VERSION, INSTANCES_VERSION } from '../queries.ts'

export type MatchLeaseRequest = LeaseRequest & { match: Match }
export type MatchLeaseRow = LeaseRow & {
  /** The version now: another than that of the match, and the match may no longer hold. */
  match_version: number
}

/** Leases by id, as long as the match holds. */
const LEASE_BY_MATCH = leaseStatement({
  name: 'lease-by-match',
  request: `request as materialized (
    select request.*,
      (select ${INSTANCES_VERSION}) + ${DIRECTORY_VERSION('request.of_organization', 'request.of_instance')} as version_now
    from unnest(${REQUEST_PARAMETERS}, $11::uuid[], $12::text[], $13::uuid[], $14::float8[])
      as request (${REQUEST_COLUMNS}, connection_id, of_organization, of_instance, match_version)
  )`,
  connectionIds: '$11::uuid[]',
  condition: 'request.version_now = request.match_version',
  column: { name: 'match_version', expression: 'request.version_now' },
})

export const leaseByMatch = (
  run: RunPrepared,
  requests: MatchLeaseRequest[],
  now: Date,
  known?: Heartbeat,
): Promise<MatchLeaseRow[]> =>
  runLeaseStatement(
    run,
    LEASE_BY_MATCH,
    requests,
    [
      arrayOf(requests.map(({ match }) => match.connectionId)),
      requests.map(({ match }) => match.organization),
      arrayOf(requests.map(({ match }) => match.instanceId)),
      arrayOf(requests.map(({ match }) => match.version)),
    ],
    now,
    known,
  )
