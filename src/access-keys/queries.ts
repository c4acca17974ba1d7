import { type Insertable, sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { AccessKeyRow, Tables } from '../db/tables.ts'

/** A rule of a trusted issuer is no key: this room alone reads it as one, by its issuer. */
const keys = (db: Database) => db.selectFrom('access_keys').selectAll().where('trusted_issuer_id', 'is', null)

export const findAccessKeyByHash = (db: Database, keySha256: Buffer): Promise<AccessKeyRow | undefined> =>
  keys(db).where('key_sha256', '=', keySha256).executeTakeFirst()

export const findAccessKey = (db: Database, id: string): Promise<AccessKeyRow | undefined> =>
  keys(db).where('id', '=', id).executeTakeFirst()

/** The rules of trusted issuers, as rows of keys. */
export const findIssuerRules = (db: Database, issuerIds: string[]): Promise<AccessKeyRow[]> =>
  db
    .selectFrom('access_keys')
    .selectAll()
    .where(sql<boolean>`trusted_issuer_id = any (${issuerIds}::uuid[])`)
    .execute()

/** Keys whose organizations all lie within `organizations` (undefined = all keys). */
export const listAccessKeys = (
  db: Database,
  {
    organizations,
    after,
    limit,
  }: { organizations: string[] | undefined; after: string | undefined; limit: number },
): Promise<AccessKeyRow[]> => {
  let query = keys(db).orderBy('id').limit(limit)
  if (organizations) query = query.where(sql<boolean>`organizations <@ ${organizations}::text[]`)
  if (after) query = query.where('id', '>', after)
  return query.execute()
}

export const insertAccessKey = (
  db: Database,
  row: Insertable<Tables['access_keys']>,
): Promise<AccessKeyRow> => db.insertInto('access_keys').values(row).returningAll().executeTakeFirstOrThrow()

export const deleteAccessKey = async (db: Database, id: string): Promise<boolean> => {
  const result = await db.deleteFrom('access_keys').where('id', '=', id).executeTakeFirst()
  return result.numDeletedRows > 0n
}

const findAny = (db: Database) => keys(db).limit(1).executeTakeFirst()

export const hasAccessKey = async (db: Database): Promise<boolean> => (await findAny(db)) !== undefined

/** Inserts only when there is no access key at all; the table lock lets one of several starting replicas win. */
export const insertFirstAccessKey = (
  db: Database,
  row: Insertable<Tables['access_keys']>,
): Promise<boolean> =>
  db.transaction().execute(async (transaction) => {
    await sql`lock table access_keys in share row exclusive mode`.execute(transaction)
    if (await findAny(transaction)) return false
    await transaction.insertInto('access_keys').values(row).execute()
    return true
  })
