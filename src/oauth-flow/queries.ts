import type { Insertable } from 'kysely'
import type { Database } from '../db/database.ts'
import type { AuthorizationRequestRow, Tables } from '../db/tables.ts'

export const insertAuthorizationRequest = async (
  db: Database,
  row: Insertable<Tables['authorization_requests']>,
): Promise<void> => {
  await db.insertInto('authorization_requests').values(row).execute()
}

export const findAuthorizationRequest = (
  db: Database,
  id: string,
): Promise<AuthorizationRequestRow | undefined> =>
  db.selectFrom('authorization_requests').selectAll().where('id', '=', id).executeTakeFirst()

/** Single use. @returns false when it was used before. */
export const consumeAuthorizationRequest = async (db: Database, id: string, now: Date): Promise<boolean> => {
  const result = await db
    .updateTable('authorization_requests')
    .set({ consumed_at: now })
    .where('id', '=', id)
    .where('consumed_at', 'is', null)
    .executeTakeFirstOrThrow()
  return result.numUpdatedRows > 0n
}

export const saveGrant = async (db: Database, id: string, grantJwe: string, now: Date): Promise<void> => {
  await db
    .updateTable('authorization_requests')
    .set({ grant_jwe: grantJwe, granted_at: now })
    .where('id', '=', id)
    .execute()
}

export const forgetGrant = async (db: Database, id: string): Promise<void> => {
  await db.updateTable('authorization_requests').set({ grant_jwe: null }).where('id', '=', id).execute()
}

export type PendingGrant = { id: string }

/** Grants that GitLab issued and that no connection has yet: GitLab did not say whose they are. */
export const findPendingGrants = (db: Database, before: Date, limit: number): Promise<PendingGrant[]> =>
  db
    .selectFrom('authorization_requests')
    .select('id')
    .where('grant_jwe', 'is not', null)
    .where('granted_at', '<=', before)
    .orderBy('granted_at')
    .limit(limit)
    .execute()
