import { type Insertable, sql } from 'kysely'
import { EVERY_ORGANIZATION } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import type { ConnectSessionRow, Tables } from '../db/tables.ts'

export const insertConnectSession = async (
  db: Database,
  row: Insertable<Tables['connect_sessions']>,
): Promise<void> => {
  await db.insertInto('connect_sessions').values(row).execute()
}

/** By the token of the link, whatever became of the session. */
export const findSessionByToken = (
  db: Database,
  tokenSha256: Buffer,
): Promise<ConnectSessionRow | undefined> =>
  db.selectFrom('connect_sessions').selectAll().where('token_sha256', '=', tokenSha256).executeTakeFirst()

export const findSession = (db: Database, id: string): Promise<ConnectSessionRow | undefined> =>
  db.selectFrom('connect_sessions').selectAll().where('id', '=', id).executeTakeFirst()

/** Locks a session against others that do the same, until the end of the transaction. */
export const lockSession = async (transaction: Database, id: string): Promise<void> => {
  await transaction.selectFrom('connect_sessions').select('id').where('id', '=', id).forUpdate().execute()
}

/**
 * Uses a link up. For the transaction that saves what the link connects.
 * @returns false when the link was used before, or when the access key that made it is gone or lost the organization.
 */
export const markSessionUsed = async (db: Database, id: string, now: Date): Promise<boolean> => {
  const result = await db
    .updateTable('connect_sessions')
    .set({ used_at: now })
    .where('id', '=', id)
    .where('used_at', 'is', null)
    .where('ended_at', 'is', null)
    .where(
      sql<boolean>`exists (
        select from access_keys
        where access_keys.id = connect_sessions.access_key_id
          and (access_keys.expires_at is null or access_keys.expires_at > ${now}::timestamptz)
          and access_keys.organizations && array[connect_sessions.organization, ${EVERY_ORGANIZATION}::text]
      )`,
    )
    .executeTakeFirstOrThrow()
  return result.numUpdatedRows > 0n
}

export type SessionFilter = {
  organizations: string[] | undefined
  after: string | undefined
  limit: number
}

/** Links with what became of them, until a week after their end. */
export const listSessions = (
  db: Database,
  { organizations, after, limit }: SessionFilter,
): Promise<ConnectSessionRow[]> => {
  let query = db.selectFrom('connect_sessions').selectAll().orderBy('id').limit(limit)
  if (organizations) query = query.where('organization', 'in', organizations)
  if (after) query = query.where('id', '>', after)
  return query.execute()
}

/**
 * Ends a link. For brokers of earlier versions, which do not read ended_at, the link has expired.
 * @returns false when the link was used or ended before.
 */
export const endSession = async (transaction: Database, id: string, now: Date): Promise<boolean> => {
  const result = await transaction
    .updateTable('connect_sessions')
    .set({ ended_at: now, expires_at: sql<Date>`least(expires_at, ${now}::timestamptz)` })
    .where('id', '=', id)
    .where('used_at', 'is', null)
    .where('ended_at', 'is', null)
    .executeTakeFirstOrThrow()
  return result.numUpdatedRows > 0n
}

/** Re-opens a link whose use failed or was undone. */
export const reopenSession = async (db: Database, id: string): Promise<void> => {
  await db.updateTable('connect_sessions').set({ used_at: null }).where('id', '=', id).execute()
}

/** Deletes sessions that ended before a time. One whose grant still waits for GitLab stays. @returns how many rows went. */
export const deleteOldSessions = async (db: Database, before: Date): Promise<number> => {
  const { numDeletedRows } = await db
    .deleteFrom('connect_sessions')
    .where('expires_at', '<', before)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('authorization_requests')
            .select('id')
            .whereRef('connect_session_id', '=', 'connect_sessions.id')
            .where('grant_jwe', 'is not', null),
        ),
      ),
    )
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}
