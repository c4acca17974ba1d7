import { CompiledQuery, sql } from 'kysely'
import { eventParameters, recordingEach } from '../../audit/queries.ts'
import type { Database, PreparedStatement, RunPrepared } from '../../db/database.ts'
import { AS_WITH_NEW_TOKEN, GRANT, IS_BEHIND, type TokenToSave } from '../queries.ts'

/** The statements that save issued tokens, each for many connections at once. */

export type Behind = { id: string; isLocked: boolean }

/** Which rows hold an older token than these, and whether somebody has the row locked. Waits for nobody. */
export const findBehind = async (
  db: Database,
  tokens: { connectionId: string; grantId: string; tokenVersion: number }[],
): Promise<Behind[]> => {
  const { rows } = await sql<Behind>`
    with behind as (
      select connections.id
      from unnest(
        ${tokens.map(({ connectionId }) => connectionId)}::uuid[], ${tokens.map(({ grantId }) => grantId)}::uuid[],
        ${tokens.map(({ tokenVersion }) => tokenVersion)}::int[]
      ) as issued (connection_id, grant_id, token_version)
      join connections on connections.id = issued.connection_id
      where ${sql.raw(IS_BEHIND('issued'))}
    ), free as (
      select id from connections where id in (select id from behind) for no key update skip locked
    )
    select behind.id, free.id is null as "isLocked" from behind left join free on free.id = behind.id`.execute(
    db,
  )
  return rows
}

/** What is recorded of a token that was saved. */
const refreshedEvent = ({ connectionId, token, tokenHash }: TokenToSave) => ({
  action: 'connection.refreshed' as const,
  at: token.token_issued_at,
  subjectId: connectionId,
  tokenHash,
  details: {
    token_version: token.token_version,
    expires_at: token.token_expires_at?.toISOString() ?? null,
  },
})

/** @param which a condition that leaves out rows, besides those that have a newer token. */
const saveStatement = (which: string): string =>
  recordingEach({
    change: `
    update connections
    set ${AS_WITH_NEW_TOKEN}, grant_id = issued.grant_id, token_version = issued.token_version,
      access_token = issued.access_token, refresh_token = issued.refresh_token,
      token_issued_at = issued.issued_at, token_expires_at = issued.expires_at,
      scopes = string_to_array(issued.scopes, ' '), last_verified_at = issued.issued_at, updated_at = issued.issued_at
    from unnest(
      $1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::text[]
    ) as issued (connection_id, grant_id, token_version, access_token, refresh_token, issued_at, expires_at, scopes)
    where connections.id = issued.connection_id and ${IS_BEHIND('issued')} ${which}
    returning connections.id, connections.organization`,
    firstParameter: 9,
  })

const SAVE = saveStatement('')
const SAVE_FREE: PreparedStatement = {
  name: 'save-free',
  // Other scopes and another grant make the trigger forget_reach write rows, which somebody may have locked.
  text: saveStatement(`
      and connections.scopes = string_to_array(issued.scopes, ' ') and ${GRANT} = issued.grant_id
      and connections.id in (select id from connections where id = any ($1::uuid[]) for no key update skip locked)`),
}

const saveParameters = (tokens: TokenToSave[]): unknown[] => {
  const column = <Value>(read: (token: TokenToSave) => Value) => tokens.map(read)
  return [
    column(({ connectionId }) => connectionId),
    column(({ grantId }) => grantId),
    column(({ token }) => token.token_version),
    column(({ token }) => token.access_token),
    column(({ token }) => token.refresh_token),
    column(({ token }) => token.token_issued_at),
    column(({ token }) => token.token_expires_at),
    column(({ token }) => token.scopes.join(' ')),
    ...eventParameters(tokens.map(refreshedEvent)),
  ]
}

type SavedRow = { subject_id: string }

const whichOf = (tokens: TokenToSave[], saved: SavedRow[]): boolean[] => {
  const ids = new Set(saved.map(({ subject_id }) => subject_id))
  return tokens.map(({ connectionId }) => ids.has(connectionId))
}

/**
 * Saves each token whose row holds an older one: of an older grant, or of the same grant with a lower version. No claim
 * is needed. GitLab issues only one successor of a token, so whoever has it must be able to save it, however far the
 * database went back. Waits for whoever has a row locked.
 * @param tokens of different connections.
 * @returns for each false when the connection has this token or a newer one, or is gone.
 */
export const saveIssuedTokens = async (db: Database, tokens: TokenToSave[]): Promise<boolean[]> => {
  const { rows } = await db.executeQuery<SavedRow>(CompiledQuery.raw(SAVE, saveParameters(tokens)))
  return whichOf(tokens, rows)
}

/**
 * The same without waiting, of the same grant and with the same scopes: beside lookups, which wait for no lock.
 * @returns for each false also when somebody has the row locked, or grant or scopes are others.
 */
export const saveWhereFree = async (run: RunPrepared, tokens: TokenToSave[]): Promise<boolean[]> =>
  whichOf(tokens, await run<SavedRow>(SAVE_FREE, saveParameters(tokens)))
