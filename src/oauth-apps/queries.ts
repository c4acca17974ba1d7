import { type Insertable, sql, type Updateable } from 'kysely'
import type { Database } from '../db/database.ts'
import type { OAuthAppRow, Tables } from '../db/tables.ts'

export const findOAuthApp = (db: Database, id: string): Promise<OAuthAppRow | undefined> =>
  db.selectFrom('oauth_apps').selectAll().where('id', '=', id).executeTakeFirst()

export const findOAuthAppForUpdate = (db: Database, id: string): Promise<OAuthAppRow | undefined> =>
  db.selectFrom('oauth_apps').selectAll().where('id', '=', id).forUpdate().executeTakeFirst()

export const findOAuthAppBySlug = (db: Database, slug: string): Promise<OAuthAppRow | undefined> =>
  db.selectFrom('oauth_apps').selectAll().where('slug', '=', slug).executeTakeFirst()

/** Whether an app is of these organizations' part: they have a connection through it, or no organization has. */
const isPartOf = (organizations: string[]) => sql<boolean>`(
  exists (
    select from connections
    where connections.oauth_app_id = oauth_apps.id and connections.organization = any (${organizations}::text[])
  )
  or not exists (select from connections where connections.oauth_app_id = oauth_apps.id)
)`

/** @param organizations undefined = all. */
export const findOAuthAppOf = (
  db: Database,
  id: string,
  organizations: string[] | undefined,
): Promise<OAuthAppRow | undefined> => {
  let query = db.selectFrom('oauth_apps').selectAll().where('id', '=', id)
  if (organizations) query = query.where(isPartOf(organizations))
  return query.executeTakeFirst()
}

export const listOAuthApps = (
  db: Database,
  {
    organizations,
    after,
    limit,
  }: { organizations: string[] | undefined; after: string | undefined; limit: number },
): Promise<OAuthAppRow[]> => {
  let query = db.selectFrom('oauth_apps').selectAll().orderBy('id').limit(limit)
  if (organizations) query = query.where(isPartOf(organizations))
  if (after) query = query.where('id', '>', after)
  return query.execute()
}

export const insertOAuthApp = (db: Database, row: Insertable<Tables['oauth_apps']>): Promise<OAuthAppRow> =>
  db.insertInto('oauth_apps').values(row).returningAll().executeTakeFirstOrThrow()

export const updateOAuthApp = (
  db: Database,
  id: string,
  changes: Pick<Updateable<Tables['oauth_apps']>, 'client_id' | 'client_secret' | 'scopes' | 'updated_at'>,
): Promise<OAuthAppRow> =>
  db
    .updateTable('oauth_apps')
    .set({ ...changes, version: sql`version + 1` })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow()

export const deleteOAuthAppRow = (db: Database, id: string): Promise<OAuthAppRow | undefined> =>
  db.deleteFrom('oauth_apps').where('id', '=', id).returningAll().executeTakeFirst()
