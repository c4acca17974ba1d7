import type { Insertable } from 'kysely'
import type { Database } from '../db/database.ts'
import type { ConnectSessionRow, Tables } from '../db/tables.ts'

export const insertConnectSession = async (
  db: Database,
  row: Insertable<Tables['connect_sessions']>,
): Promise<void> => {
  await db.insertInto('connect_sessions').values(row).execute()
}

/** One that is neither used nor over. */
export const findOpenSession = (
  db: Database,
  tokenSha256: Buffer,
  now: Date,
): Promise<ConnectSessionRow | undefined> =>
  db
    .selectFrom('connect_sessions')
    .selectAll()
    .where('token_sha256', '=', tokenSha256)
    .where('used_at', 'is', null)
    .where('expires_at', '>', now)
    .executeTakeFirst()

/** By the token of the link, whatever became of the session. */
export const findSessionByToken = (
  db: Database,
  tokenSha256: Buffer,
): Promise<ConnectSessionRow | undefined> =>
  db.selectFrom('connect_sessions').selectAll().where('token_sha256', '=', tokenSha256).executeTakeFirst()

export const findSession = (db: Database, id: string): Promise<ConnectSessionRow | undefined> =>
  db.selectFrom('connect_sessions').selectAll().where('id', '=', id).executeTakeFirst()

/** @returns false when it was used before. */
export const markSessionUsed = async (db: Database, id: string, now: Date): Promise<boolean> => {
  const result = await db
    .updateTable('connect_sessions')
    .set({ used_at: now })
    .where('id', '=', id)
    .where('used_at', 'is', null)
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
