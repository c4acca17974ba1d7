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

/** With what the database knows now of instances and directory: a match by other versions is out of date. */
export type MatchLeaseRow = LeaseRow & { instances_version: number; directory_version: number }

/** Leases a match as long as it holds. */
const LEASE_BY_MATCH = leaseStatement({
  name: 'lease-by-match',
  request: `request as materialized (
    select asked.*, (select ${INSTANCES_VERSION}) as instances_version,
      ${DIRECTORY_VERSION('asked.in_organization', 'asked.on_instance')} as directory_version
    from unnest(${REQUEST_PARAMETERS}, $11::uuid[], $12::text[], $13::uuid[], $14::float8[])
      as asked (${REQUEST_COLUMNS}, connection_id, in_organization, on_instance, version)
  )`,
  connectionIds: '$11::uuid[]',
  condition: 'request.instances_version + request.directory_version = request.version',
  columns: ['instances_version', 'directory_version'],
})

export const leaseByMatch = (
  run: RunPrepared,
  requests: MatchLeaseRequest[],
  now: Date,
  known?: Heartbeat,
): Promise<MatchLeaseRow[]> => {
  const matches = requests.map(({ match }) => match)
  const values = [
    arrayOf(matches.map(({ connectionId }) => connectionId)),
    matches.map(({ organization }) => organization),
    arrayOf(matches.map(({ instanceId }) => instanceId)),
    arrayOf(matches.map(({ version }) => version)),
  ]
  return runLeaseStatement(run, LEASE_BY_MATCH, requests, values, now, known)
}
