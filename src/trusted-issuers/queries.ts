import { type Insertable, sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { Tables, TrustedIssuerRow } from '../db/tables.ts'

/** Those with which a token of this issuer could be addressed to us, the one that was added first first. */
export const findByIssuer = (db: Database, issuer: string): Promise<TrustedIssuerRow[]> =>
  db.selectFrom('trusted_issuers').selectAll().where('issuer', '=', issuer).orderBy('id').execute()

/** Issuers all of whose rules are for `organizations` (undefined = all). */
const within = (db: Database, organizations: string[] | undefined) => {
  const query = db.selectFrom('trusted_issuers').selectAll()
  return organizations
    ? query.where(
        sql<boolean>`not exists (
          select from access_keys
          where access_keys.trusted_issuer_id = trusted_issuers.id
            and not access_keys.organizations <@ ${organizations}::text[]
        )`,
      )
    : query
}

export const findTrustedIssuer = (
  db: Database,
  id: string,
  organizations: string[] | undefined,
): Promise<TrustedIssuerRow | undefined> => within(db, organizations).where('id', '=', id).executeTakeFirst()

export const listTrustedIssuers = (
  db: Database,
  {
    organizations,
    after,
    limit,
  }: { organizations: string[] | undefined; after: string | undefined; limit: number },
): Promise<TrustedIssuerRow[]> => {
  let query = within(db, organizations).orderBy('id').limit(limit)
  if (after) query = query.where('id', '>', after)
  return query.execute()
}

export const insertTrustedIssuer = (
  db: Database,
  row: Insertable<Tables['trusted_issuers']>,
): Promise<TrustedIssuerRow> =>
  db.insertInto('trusted_issuers').values(row).returningAll().executeTakeFirstOrThrow()

/** Its rules go with it. */
export const deleteTrustedIssuer = async (db: Database, id: string): Promise<boolean> => {
  const result = await db.deleteFrom('trusted_issuers').where('id', '=', id).executeTakeFirst()
  return result.numDeletedRows > 0n
}
