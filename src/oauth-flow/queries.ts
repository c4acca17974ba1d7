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

/** How many flows a connect session has begun. */
export const countAuthorizationRequests = async (db: Database, connectSessionId: string): Promise<number> => {
  const { count } = await db
    .selectFrom('authorization_requests')
    .select(({ fn }) => fn.countAll<string>().as('count'))
    .where('connect_session_id', '=', connectSessionId)
    .executeTakeFirstOrThrow()
  return Number(count)
}

export const saveGrant = async (db: Database, id: string, grantJwe: string, now: Date): Promise<void> => {
  await db
    .updateTable('authorization_requests')
    .set({ grant_jwe: grantJwe, granted_at: now })
    .where('id', '=', id)
    .execute()
}

/** Lets a grant wait for a person. Without granted_at no broker, of an earlier version either, completes it by itself. */
export const saveQuestion = async (
  db: Database,
  id: string,
  grantJwe: string,
  until: Date,
): Promise<void> => {
  await db
    .updateTable('authorization_requests')
    .set({ grant_jwe: grantJwe, granted_at: null, confirm_until: until })
    .where('id', '=', id)
    .where('grant_jwe', 'is not', null)
    .where('confirm_until', 'is', null)
    .execute()
}

/** Longer ago than any question: the grant is given up, whatever the clocks say. */
const GIVEN_UP = new Date(0)

/** Gives a grant up. @returns the request; undefined when it has no grant any more, because it became a connection. */
export const markToDrop = (db: Database, id: string): Promise<AuthorizationRequestRow | undefined> =>
  db
    .updateTable('authorization_requests')
    .set({ granted_at: null, confirm_until: GIVEN_UP })
    .where('id', '=', id)
    .where('grant_jwe', 'is not', null)
    .returningAll()
    .executeTakeFirst()

/** For the transaction that makes a connection of a grant. @returns false when the grant is gone or given up. */
export const takeGrant = async (transaction: Database, id: string, now: Date): Promise<boolean> => {
  const result = await transaction
    .updateTable('authorization_requests')
    .set({ grant_jwe: null, confirm_until: null })
    .where('id', '=', id)
    .where('grant_jwe', 'is not', null)
    .where(({ or, eb }) => or([eb('confirm_until', 'is', null), eb('confirm_until', '>', now)]))
    .executeTakeFirstOrThrow()
  return result.numUpdatedRows > 0n
}

/** @returns whom the grant was for; undefined when another process was first. */
export const forgetGrant = async (
  db: Database,
  id: string,
): Promise<{ organization: string } | undefined> => {
  const forgotten = await db
    .updateTable('authorization_requests')
    .from('connect_sessions')
    .set({ grant_jwe: null })
    .where('authorization_requests.id', '=', id)
    .where('authorization_requests.grant_jwe', 'is not', null)
    .whereRef('connect_sessions.id', '=', 'authorization_requests.connect_session_id')
    .returning('connect_sessions.organization')
    .executeTakeFirst()
  return forgotten
}

/** Grants that GitLab issued and that no connection has yet: GitLab did not say whose they are. */
export const findPendingGrants = (db: Database, before: Date, limit: number): Promise<{ id: string }[]> =>
  db
    .selectFrom('authorization_requests')
    .select('id')
    .where('grant_jwe', 'is not', null)
    .where('confirm_until', 'is', null)
    .where('granted_at', '<=', before)
    .orderBy('granted_at')
    .limit(limit)
    .execute()

/** Grants that were given up, or to which nobody said yes in time. */
export const findGrantsToDrop = (db: Database, now: Date, limit: number): Promise<{ id: string }[]> =>
  db
    .selectFrom('authorization_requests')
    .select('id')
    .where('grant_jwe', 'is not', null)
    .where('confirm_until', '<=', now)
    .orderBy('confirm_until')
    .limit(limit)
    .execute()
