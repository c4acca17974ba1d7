import type { Clock } from '../../clock/clock.ts'
import { statusAt } from '../../connections/connection.ts'
import type { Database } from '../../db/database.ts'
import type { ConnectionSyncRow } from '../../db/tables.ts'
import { notFound, Problem } from '../../errors/problem.ts'
import type { ConnectionWithInstance } from '../../token-lifecycle/queries.ts'
import { findSync, requestSync } from './queries.ts'
import type { Syncs } from './syncs.ts'

export type StartDeps = { db: Database; clock: Clock; syncs: Syncs }

const REFUSED = {
  needs_reauthorization: 'needs_reauthorization',
  expired: 'connection_expired',
  revoked: 'connection_revoked',
} as const

/** Begins a full run now, where none is under way. @throws {Problem} sync_disabled, not_found (it is gone meanwhile), and those of a connection that is not active */
export const startSync = async (
  { db, clock, syncs }: StartDeps,
  connection: ConnectionWithInstance,
): Promise<ConnectionSyncRow | undefined> => {
  if (!syncs.isOn)
    throw new Problem(
      'sync_disabled',
      'Whoever runs this service has switched off the reading of projects (SYNC_PROJECTS=off). Lookups by URL work without it.',
    )
  const now = new Date(clock())
  const status = statusAt(connection, now)
  if (status !== 'active')
    throw new Problem(REFUSED[status], connection.status_detail ?? undefined, {
      members: { connection_id: connection.id, status_reason: connection.status_reason },
    })
  if (!(await requestSync(db, connection.id, now))) throw notFound('connection')
  await syncs.start(connection)
  return findSync(db, connection.id)
}
