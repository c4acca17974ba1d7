import type { Database } from '../../db/database.ts'

export type OfferedApp = { slug: string; scopes: string[]; base_url: string; instance_name: string }

const offeredApps = (db: Database) =>
  db
    .selectFrom('oauth_apps')
    .innerJoin('instances', 'instances.id', 'oauth_apps.instance_id')
    .select(['oauth_apps.slug', 'oauth_apps.scopes', 'instances.base_url', 'instances.name as instance_name'])

/** Through which apps a person can connect. @param baseUrl of the only instance; null = any. */
export const listOfferedApps = (
  db: Database,
  limit: number,
  baseUrl: string | null,
): Promise<OfferedApp[]> => {
  const query = offeredApps(db).orderBy('oauth_apps.id').limit(limit)
  return (baseUrl === null ? query : query.where('instances.base_url', '=', baseUrl)).execute()
}

export const findOfferedApp = (db: Database, slug: string): Promise<OfferedApp | undefined> =>
  offeredApps(db).where('oauth_apps.slug', '=', slug).executeTakeFirst()
