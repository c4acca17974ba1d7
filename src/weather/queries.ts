import { type Selectable, sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { ConnectionRow, InstanceRow, Tables } from '../db/tables.ts'

export type IncidentRow = Selectable<Tables['incidents']>
export type RefusalSlice = {
  instance_id: string
  /** When the slice began. */
  since: Date
  refusals: number
}

/**
 * Refusals are counted by ten seconds. The column is named `minute`, since earlier versions count by minutes in it: what
 * they count while both run may be forgotten 50 seconds too early.
 */
export const SLICE_SECONDS = 10

/** @returns every slice of the instance after `since`, with these refusals added. */
export const addRefusals = async (
  db: Database,
  { instanceId, refusals, now, since }: { instanceId: string; refusals: number; now: Date; since: Date },
): Promise<RefusalSlice[]> => {
  await sql`
    insert into instance_refusals (instance_id, minute, refusals)
    values (${instanceId}, date_bin(make_interval(secs => ${SLICE_SECONDS}), ${now}::timestamptz, 'epoch'), ${refusals})
    on conflict (instance_id, minute) do update set refusals = instance_refusals.refusals + excluded.refusals
  `.execute(db)
  return listRefusals(db, since, instanceId)
}

/** @param instanceId undefined = of all instances. */
export const listRefusals = (db: Database, since: Date, instanceId?: string): Promise<RefusalSlice[]> => {
  const query = db
    .selectFrom('instance_refusals')
    .select(['instance_id', 'minute as since', 'refusals'])
    .where('minute', '>', since)
  return (instanceId === undefined ? query : query.where('instance_id', '=', instanceId)).execute()
}

export const deleteRefusalsBefore = async (db: Database, before: Date): Promise<number> => {
  const { numDeletedRows } = await db
    .deleteFrom('instance_refusals')
    .where('minute', '<', before)
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}

export const deleteIncidentsBefore = async (db: Database, before: Date): Promise<number> => {
  const { numDeletedRows } = await db
    .deleteFrom('incidents')
    .where('closed_at', '<', before)
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}

export const saveBan = async (db: Database, instanceId: string, until: Date): Promise<void> => {
  await db
    .insertInto('instance_bans')
    .values({ instance_id: instanceId, banned_until: until })
    .onConflict((conflict) =>
      conflict.column('instance_id').doUpdateSet({
        banned_until: sql`greatest(instance_bans.banned_until, excluded.banned_until)`,
      }),
    )
    .execute()
}

export const listBans = (db: Database, now: Date): Promise<Selectable<Tables['instance_bans']>[]> =>
  db.selectFrom('instance_bans').selectAll().where('banned_until', '>', now).execute()

/** @returns the open incident: this one, or that of another replica. */
export const openIncident = async (db: Database, incident: IncidentRow): Promise<IncidentRow> => {
  const opened = await db
    .insertInto('incidents')
    .values(incident)
    .onConflict((conflict) => conflict.doNothing())
    .returningAll()
    .executeTakeFirst()
  if (opened) return opened
  return db
    .selectFrom('incidents')
    .selectAll()
    .where('instance_id', '=', incident.instance_id)
    .where('cause', '=', incident.cause)
    .where('oauth_app_id', 'is not distinct from', incident.oauth_app_id)
    .where('closed_at', 'is', null)
    .executeTakeFirstOrThrow()
}

export const listOpenIncidents = (db: Database): Promise<IncidentRow[]> =>
  db.selectFrom('incidents').selectAll().where('closed_at', 'is', null).execute()

type IncidentChanges = Partial<
  Pick<IncidentRow, 'canary_id' | 'canary_at' | 'last_refused_at' | 'told_at' | 'closed_at'>
> & { more?: number }

export const updateIncident = async (
  db: Database,
  id: string,
  { more = 0, ...changes }: IncidentChanges,
): Promise<void> => {
  await db
    .updateTable('incidents')
    .set({ ...changes, connections: sql`connections + ${more}::int` })
    .where('id', '=', id)
    .execute()
}

export type ShownIncident = IncidentRow & { oauth_app_slug: string | null }

/** The newest first. */
export const listIncidents = (db: Database, instanceId: string, limit: number): Promise<ShownIncident[]> =>
  db
    .selectFrom('incidents')
    .leftJoin('oauth_apps', 'oauth_apps.id', 'incidents.oauth_app_id')
    .selectAll('incidents')
    .select('oauth_apps.slug as oauth_app_slug')
    .where('incidents.instance_id', '=', instanceId)
    .orderBy('opened_at', 'desc')
    .limit(limit)
    .execute()

export const findInstanceByBaseUrls = (
  db: Database,
  baseUrls: string[],
): Promise<Pick<InstanceRow, 'id' | 'base_url' | 'ca_certificate'>[]> =>
  db
    .selectFrom('instances')
    .select(['id', 'base_url', 'ca_certificate'])
    .where('base_url', 'in', baseUrls)
    .execute()

/** Tokens with which an instance can be asked about itself, or that tell how it issues them; the latest first. */
export const findTellingConnections = (
  db: Database,
  instanceId: string,
  now: Date,
): Promise<ConnectionRow[]> =>
  db
    .selectFrom('connections')
    .selectAll()
    .where('instance_id', '=', instanceId)
    .where('status', '=', 'active')
    .where('unanswered_since', 'is', null)
    .where('attempt_id', 'is', null)
    .where((where) => where.or([where('token_expires_at', 'is', null), where('token_expires_at', '>', now)]))
    .orderBy('last_verified_at', (order) => order.desc().nullsLast())
    .limit(20)
    .execute()
