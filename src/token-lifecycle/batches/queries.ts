import { sql } from 'kysely'
import { recordAuditEventsOfEach } from '../../audit/queries.ts'
import { SERVICE_ID } from '../../callers/principal.ts'
import { addSeconds } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import type { ConnectionRow } from '../../db/tables.ts'
import { type Heartbeat, isAsNew } from '../history/queries.ts'
import { ACTIVE_UNLESS_WAITING, type Attempt, IS_BEHIND, NO_FAILURE, type TokenToSave } from '../queries.ts'
import { CLAIM_SECONDS } from '../refresh-decision.ts'

/** The statements of a refresh, each for many connections at once. */

/** A connection with the versions of its app and instance, by which a client of theirs is known. */
export type ClaimableRow = ConnectionRow & { instance_version: number; oauth_app_version: number | null }

const claimable = (transaction: Database) =>
  transaction
    .selectFrom('connections')
    .innerJoin('instances', 'instances.id', 'connections.instance_id')
    .leftJoin('oauth_apps', 'oauth_apps.id', 'connections.oauth_app_id')
    .selectAll('connections')
    .select(['instances.version as instance_version', 'oauth_apps.version as oauth_app_version'])
    .forUpdate('connections')

/** Waits for whoever has the row locked. */
export const lockClaimable = (transaction: Database, id: string): Promise<ClaimableRow[]> =>
  claimable(transaction).where('connections.id', '=', id).execute()

/** Without the rows that somebody has locked: a batch that waited for one would hold up all the others. */
export const lockFreeClaimable = (transaction: Database, ids: string[]): Promise<ClaimableRow[]> =>
  claimable(transaction).where('connections.id', 'in', ids).orderBy('connections.id').skipLocked().execute()

export type LeaseQuestion = { connectionId: string; tokenVersion: number; except: string | undefined }

/** For each question the end of the last lease on a token version; null when nobody holds one but the service. */
export const findLeaseEnds = async (
  db: Database,
  questions: LeaseQuestion[],
  now: Date,
): Promise<(Date | null)[]> => {
  const { rows } = await sql<{ until: Date | null }>`
    select last_lease.until
    from unnest(
      ${questions.map(({ connectionId }) => connectionId)}::uuid[],
      ${questions.map(({ tokenVersion }) => tokenVersion)}::int[],
      ${questions.map(({ except }) => except ?? null)}::uuid[]
    ) with ordinality as question (connection_id, token_version, except_id, number)
    cross join lateral (
      select max(expires_at) as until from leases
      where leases.connection_id = question.connection_id and leases.token_version = question.token_version
        and leases.released_at is null and leases.expires_at > ${now}::timestamptz
        and leases.id is distinct from question.except_id and leases.access_key_id <> ${SERVICE_ID}::uuid
    ) as last_lease
    order by question.number`.execute(db)
  return rows.map(({ until }) => until)
}

export type NewClaim = {
  connectionId: string
  attempt: Attempt
  /** What an attempt leaves whose writer died. */
  abandoned: Partial<ConnectionRow>
}

export const claimConnections = async (transaction: Database, claims: NewClaim[]): Promise<void> => {
  for (const { connectionId, abandoned } of claims)
    if (Object.keys(abandoned).length > 0)
      await transaction.updateTable('connections').set(abandoned).where('id', '=', connectionId).execute()
  if (claims.length === 0) return
  await sql`
    update connections
    set attempt_id = claim.attempt_id, attempt_kind = claim.kind, attempt_deadline = claim.deadline,
      attempt_sent_at = null
    from unnest(
      ${claims.map(({ connectionId }) => connectionId)}::uuid[], ${claims.map(({ attempt }) => attempt.id)}::uuid[],
      ${claims.map(({ attempt }) => attempt.kind)}::text[],
      ${claims.map(({ attempt }) => attempt.deadline)}::timestamptz[]
    ) as claim (connection_id, attempt_id, kind, deadline)
    where connections.id = claim.connection_id`.execute(transaction)
}

export type Sending = { connectionId: string; attemptId: string; sentAt: Date }

/** For each sending whether its claim still holds; undefined = the database went back, and nothing is marked. */
export type Marked = boolean[] | undefined

/**
 * Write-ahead: from here on GitLab may have acted.
 * @param known what the database has to have of this node; undefined = nothing is known yet.
 */
export const markAttemptsSent = async (
  db: Database,
  sendings: Sending[],
  known: Heartbeat | undefined,
): Promise<Marked> => {
  // The time to answer counts from here: a slow database may have used up the claim's by now.
  const { rows } = await sql<{ is_as_new: boolean; attempt_ids: string[] }>`
    with past as materialized (select ${isAsNew(known)} as is_as_new), marked as (
      update connections set attempt_sent_at = sending.sent_at, attempt_deadline = sending.deadline
      from unnest(
        ${sendings.map(({ connectionId }) => connectionId)}::uuid[],
        ${sendings.map(({ attemptId }) => attemptId)}::uuid[],
        ${sendings.map(({ sentAt }) => sentAt)}::timestamptz[],
        ${sendings.map(({ sentAt }) => addSeconds(sentAt, CLAIM_SECONDS))}::timestamptz[]
      ) as sending (connection_id, attempt_id, sent_at, deadline)
      where (select is_as_new from past)
        and connections.id = sending.connection_id and connections.attempt_id = sending.attempt_id
        and connections.attempt_deadline > sending.sent_at
      returning connections.attempt_id
    )
    select past.is_as_new, array(select attempt_id::text from marked) as attempt_ids from past`.execute(db)
  const [{ is_as_new, attempt_ids } = { is_as_new: false, attempt_ids: [] }] = rows
  if (!is_as_new) return undefined
  const marked = new Set(attempt_ids)
  return sendings.map(({ attemptId }) => marked.has(attemptId))
}

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
      where ${IS_BEHIND(sql`issued.grant_id`, sql`issued.token_version`)}
    ), free as (
      select id from connections where id in (select id from behind) for no key update skip locked
    )
    select behind.id, free.id is null as "isLocked" from behind left join free on free.id = behind.id`.execute(
    db,
  )
  return rows
}

/** The columns that tell of failures and attempts, as a token that was just issued leaves them. */
const AS_NEW = sql.join(
  Object.entries({ ...NO_FAILURE, ...ACTIVE_UNLESS_WAITING }).map(
    ([column, value]) => sql`${sql.ref(column)} = ${value}`,
  ),
)

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

/**
 * Saves each token whose row holds an older one: of an older grant, or of the same grant with a lower version. No claim
 * is needed. GitLab issues only one successor of a token, so whoever has it must be able to save it, however far the
 * database went back.
 * @param tokens of different connections.
 * @returns for each false when the connection has this token or a newer one, or is gone.
 */
export const saveIssuedTokens = async (db: Database, tokens: TokenToSave[]): Promise<boolean[]> => {
  const column = <Value>(read: (token: TokenToSave) => Value) => tokens.map(read)
  const change = sql`
    update connections
    set ${AS_NEW}, grant_id = issued.grant_id, token_version = issued.token_version,
      access_token = issued.access_token, refresh_token = issued.refresh_token,
      token_issued_at = issued.issued_at, token_expires_at = issued.expires_at,
      scopes = string_to_array(issued.scopes, ' '), last_verified_at = issued.issued_at, updated_at = issued.issued_at
    from unnest(
      ${column(({ connectionId }) => connectionId)}::uuid[], ${column(({ grantId }) => grantId)}::uuid[],
      ${column(({ token }) => token.token_version)}::int[], ${column(({ token }) => token.access_token)}::text[],
      ${column(({ token }) => token.refresh_token)}::text[],
      ${column(({ token }) => token.token_issued_at)}::timestamptz[],
      ${column(({ token }) => token.token_expires_at)}::timestamptz[],
      ${column(({ token }) => token.scopes.join(' '))}::text[]
    ) as issued (connection_id, grant_id, token_version, access_token, refresh_token, issued_at, expires_at, scopes)
    where connections.id = issued.connection_id and ${IS_BEHIND(sql`issued.grant_id`, sql`issued.token_version`)}
    returning connections.id, connections.organization`
  const saved = new Set(await recordAuditEventsOfEach(db, change, tokens.map(refreshedEvent)))
  return column(({ connectionId }) => saved.has(connectionId))
}
