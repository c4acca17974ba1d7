import { type Insertable, sql, type Updateable } from 'kysely'
import type { Database } from '../db/database.ts'
import type { InstanceRow, Tables } from '../db/tables.ts'

export const findInstance = (db: Database, id: string): Promise<InstanceRow | undefined> =>
  db.selectFrom('instances').selectAll().where('id', '=', id).executeTakeFirst()

export const findInstanceByBaseUrl = (db: Database, baseUrl: string): Promise<InstanceRow | undefined> =>
  db.selectFrom('instances').selectAll().where('base_url', '=', baseUrl).executeTakeFirst()

/** A host may have this many instances: on ports, and under paths. */
const MOST_OF_HOST = 1000

/** The host of a base URL as the index has it (migrations/0015_ssh_hosts.ts). */
export const HOST = `regexp_replace(split_part(base_url, '/', 3), ':[0-9]+$', '')`

/**
 * The instances that a URL may mean by its host: readingsAt chooses among them.
 * @param sshNames the names by which an instance may claim the host of an SSH URL
 */
export const findInstancesOfHost = (
  db: Database,
  hostname: string,
  sshNames: string[],
): Promise<InstanceRow[]> =>
  db
    .selectFrom('instances')
    .selectAll()
    .where((where) =>
      where.or([where(sql.raw<string>(HOST), '=', hostname), sql<boolean>`ssh_hosts && ${sshNames}::text[]`]),
    )
    .limit(MOST_OF_HOST)
    .execute()

/** gitlab.com is there from the start, for everybody. */
const FOR_EVERYBODY = 'https://gitlab.com'

/** Whether an instance is of these organizations' part: they have a connection there, or no organization has. */
const isPartOf = (organizations: string[]) => sql<boolean>`(
  instances.base_url = ${FOR_EVERYBODY}
  or exists (
    select from connections
    where connections.instance_id = instances.id and connections.organization = any (${organizations}::text[])
  )
  or not exists (select from connections where connections.instance_id = instances.id)
)`

/** @param organizations undefined = all. */
export const findInstanceOf = (
  db: Database,
  id: string,
  organizations: string[] | undefined,
): Promise<InstanceRow | undefined> => {
  let query = db.selectFrom('instances').selectAll().where('id', '=', id)
  if (organizations) query = query.where(isPartOf(organizations))
  return query.executeTakeFirst()
}

export const listInstances = (
  db: Database,
  {
    organizations,
    after,
    limit,
  }: { organizations: string[] | undefined; after: string | undefined; limit: number },
): Promise<InstanceRow[]> => {
  let query = db.selectFrom('instances').selectAll().orderBy('id').limit(limit)
  if (organizations) query = query.where(isPartOf(organizations))
  if (after) query = query.where('id', '>', after)
  return query.execute()
}

export const insertInstance = (
  db: Database,
  row: Omit<Insertable<Tables['instances']>, 'version'>,
): Promise<InstanceRow> =>
  db
    .insertInto('instances')
    .values({ ...row, version: 1 })
    .returningAll()
    .executeTakeFirstOrThrow()

/** Two people may connect the first account of an instance at once: both get the row of the first. */
export const insertInstanceIfAbsent = (
  db: Database,
  row: Insertable<Tables['instances']>,
): Promise<InstanceRow> =>
  db
    .insertInto('instances')
    .values({ ...row, version: 1 })
    .onConflict((conflict) => conflict.column('base_url').doUpdateSet({ base_url: row.base_url }))
    .returningAll()
    .executeTakeFirstOrThrow()

export const updateInstance = (
  db: Database,
  id: string,
  changes: Pick<
    Updateable<Tables['instances']>,
    'name' | 'allow_private_network' | 'ca_certificate' | 'proxy_url' | 'ssh_hosts' | 'updated_at'
  >,
): Promise<InstanceRow | undefined> =>
  db
    .updateTable('instances')
    .set({ ...changes, version: sql`version + 1` })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst()

export const deleteInstanceRow = (db: Database, id: string): Promise<InstanceRow | undefined> =>
  db.deleteFrom('instances').where('id', '=', id).returningAll().executeTakeFirst()
