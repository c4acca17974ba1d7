import { type SqlBool, sql } from 'kysely'
import { SERVICE_ID } from '../../callers/principal.ts'
import type { Database } from '../../db/database.ts'
import type { ConnectionRow } from '../../db/tables.ts'
import { IS_REFRESHABLE } from '../../token-lifecycle/queries.ts'

/** What a list shows; no ciphertext is read for it. */
const COLUMNS = [
  'id',
  'organization',
  'name',
  'method',
  'token_kind',
  'gitlab_user_id',
  'gitlab_username',
  'gitlab_name',
  'auto_rotate',
  'status',
  'status_reason',
  'status_detail',
  'failure_code',
  'scopes',
  'token_version',
  'token_expires_at',
  'last_verified_at',
] as const

export type ListedConnection = Pick<ConnectionRow, (typeof COLUMNS)[number]> & {
  /** What the connection covers, with commas between; empty = the whole instance. */
  places: string
  base_url: string
  ca_certificate: string | null
  oauth_app_slug: string | null
  refreshable: boolean
}

export type ConnectionScope = { organizations: string[] | undefined; now: Date; soon: Date }

const refreshable = sql.raw<boolean>(IS_REFRESHABLE('connections'))

const places = sql<string>`coalesce((
  select string_agg(connection_places.path, ', ' order by connection_places.match_path) from connection_places
  where connection_places.connection_id = connections.id and not connection_places.is_former
), '')`

/** The rule of needsPerson in connection-card.ts: no longer active, or near its end with nothing that renews it. */
const needsPerson = (soon: Date) => sql<SqlBool>`(connections.status <> 'active' or (not ${refreshable}
  and not connections.auto_rotate and connections.token_expires_at is not null
  and connections.token_expires_at <= ${soon}))`

const listed = (db: Database, { organizations }: ConnectionScope) => {
  const query = db
    .selectFrom('connections')
    .innerJoin('instances', 'instances.id', 'connections.instance_id')
    .leftJoin('oauth_apps', 'oauth_apps.id', 'connections.oauth_app_id')
    .select(COLUMNS.map((column) => `connections.${column}` as const))
    .select([
      'instances.base_url',
      'instances.ca_certificate',
      'oauth_apps.slug as oauth_app_slug',
      refreshable.as('refreshable'),
      places.as('places'),
    ])
  return organizations ? query.where('connections.organization', 'in', organizations) : query
}

/** Those that need a person: dead ones before those that are about to end, each the latest first. */
export const listNeedingPerson = (
  db: Database,
  scope: ConnectionScope,
  limit: number,
): Promise<ListedConnection[]> =>
  listed(db, scope)
    .where(needsPerson(scope.soon))
    .orderBy(sql`connections.status = 'active'`)
    .orderBy('connections.updated_at', 'desc')
    .limit(limit)
    .execute()

/** All others, the newest first. */
export const listWorking = (
  db: Database,
  scope: ConnectionScope,
  { before, limit }: { before: string | undefined; limit: number },
): Promise<ListedConnection[]> => {
  let query = listed(db, scope)
    .where((eb) => eb.not(needsPerson(scope.soon)))
    .orderBy('connections.id', 'desc')
    .limit(limit)
  if (before) query = query.where('connections.id', '<', before)
  return query.execute()
}

export const findListed = (
  db: Database,
  scope: ConnectionScope,
  id: string,
): Promise<ListedConnection | undefined> =>
  listed(db, scope).where('connections.id', '=', id).executeTakeFirst()

export type Usage = {
  connection_id: string
  /** null when the access key was deleted. */
  key_name: string | null
  last_used_at: Date
  in_use: boolean
}

/** As many leases tell who uses a connection; a busy one has millions. */
const LATEST_LEASES = 100

/** Who fetched tokens of these connections since a time, the service itself left out, and who holds one now; the latest user first. */
export const listUsage = async (
  db: Database,
  connectionIds: string[],
  { since, now }: { since: Date; now: Date },
): Promise<Usage[]> => {
  const { rows } = await sql<Usage>`
    select latest.connection_id, access_keys.name as key_name, max(latest.granted_at) as last_used_at,
      bool_or(latest.released_at is null and latest.expires_at > ${now}::timestamptz) as in_use
    from unnest(${connectionIds}::uuid[]) as shown (id)
    cross join lateral (
      select * from leases
      where leases.connection_id = shown.id and leases.access_key_id <> ${SERVICE_ID}::uuid
        and leases.expires_at > ${since}::timestamptz
      order by leases.expires_at desc
      limit ${LATEST_LEASES}
    ) as latest
    left join access_keys on access_keys.id = latest.access_key_id
    group by latest.connection_id, latest.access_key_id, access_keys.name
    order by last_used_at desc
  `.execute(db)
  return rows
}
