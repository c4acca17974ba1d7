import { sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { LeaseHolder } from '../leases/lease.ts'

/** More would not help: without a path one alone can be chosen. */
const MOST_OF_HOST = 2

/** @property covers_all false = it is limited to groups or projects. */
export type ConnectionOfHost = { id: string; covers_all: boolean }

/** Active connections of an organization on the instances of a host, below a path or not. */
export const findConnectionsOfHost = async (
  db: Database,
  { organization, origin, ids }: { organization: string; origin: string; ids: string[] | undefined },
): Promise<ConnectionOfHost[]> => {
  let query = db
    .selectFrom('connections')
    .innerJoin('instances', 'instances.id', 'connections.instance_id')
    .select('connections.id')
    .select(
      sql<boolean>`exists (
        select from connection_places as place
        where place.connection_id = connections.id and place.match_path = '' and not place.is_former
      )`.as('covers_all'),
    )
    .where('connections.organization', '=', organization)
    .where('connections.status', '=', 'active')
    .where(({ eb, fn, val, or }) =>
      or([
        eb('instances.base_url', '=', origin),
        fn<boolean>('starts_with', ['instances.base_url', val(`${origin}/`)]),
      ]),
    )
    .limit(MOST_OF_HOST)
  if (ids) query = query.where('connections.id', 'in', ids)
  return query.execute()
}

/** A lease with the token that it is about. */
export type HeldToken = {
  lease_id: string
  connection_id: string
  token_version: number
  access_token: string
}

/** What a caller holds of these connections: for each the newest lease on the current version that is not rejected. */
export const findHeldTokens = (
  db: Database,
  { connectionIds, holder }: { connectionIds: string[]; holder: LeaseHolder },
): Promise<HeldToken[]> =>
  db
    .selectFrom('leases')
    .innerJoin('connections', 'connections.id', 'leases.connection_id')
    .distinctOn('connections.id')
    .select([
      'leases.id as lease_id',
      'connections.id as connection_id',
      'connections.token_version',
      'connections.access_token',
    ])
    .where('leases.connection_id', 'in', connectionIds)
    .whereRef('leases.token_version', '=', 'connections.token_version')
    .where('leases.access_key_id', '=', holder.accessKeyId)
    .where('leases.subject', 'is not distinct from', holder.subject)
    .where('leases.rejected_at', 'is', null)
    .orderBy('connections.id')
    .orderBy('leases.id', 'desc')
    .execute()
