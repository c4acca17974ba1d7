import { sql } from 'kysely'
import { SERVICE_ID } from '../../callers/principal.ts'
import { addSeconds } from '../../clock/clock.ts'
import type { Database, PreparedStatement, RunPrepared } from '../../db/database.ts'
import type { ConnectionRow } from '../../db/tables.ts'
import { type Heartbeat, IS_AS_NEW, isAsNew } from '../history/queries.ts'
import { type Attempt, IS_REFRESHABLE, NO_ATTEMPT } from '../queries.ts'
import { CLAIM_SECONDS } from '../refresh-decision.ts'

/** The statements by which one writer gets a connection, each for many connections at once. */

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

export type ClearClaim = {
  connectionId: string
  attemptId: string
  /** The token version that is to be replaced. */
  knownVersion: number
  /** Leases of others do not stand in the way. */
  preempts: boolean
  /** A lease that does not stand in the way. */
  ownLease: string | undefined
}

/** By name: a column that a later migration adds would change what the kept plan answers. */
const COLUMNS = Object.keys({
  id: true,
  organization: true,
  instance_id: true,
  method: true,
  token_kind: true,
  name: true,
  group_path: true,
  gitlab_user_id: true,
  gitlab_username: true,
  gitlab_name: true,
  oauth_app_id: true,
  auto_rotate: true,
  status: true,
  status_reason: true,
  status_detail: true,
  scopes: true,
  token_version: true,
  grant_id: true,
  access_token: true,
  refresh_token: true,
  token_issued_at: true,
  token_expires_at: true,
  attempt_id: true,
  attempt_kind: true,
  attempt_deadline: true,
  attempt_sent_at: true,
  retry_after: true,
  unanswered_since: true,
  refused_since: true,
  failing_since: true,
  failure_count: true,
  failure_code: true,
  failure_detail: true,
  last_verified_at: true,
  rotate_after: true,
  rotation_failures: true,
  rotation_failure_code: true,
  rotation_failure_detail: true,
  created_at: true,
  updated_at: true,
  labels: true,
} satisfies Record<keyof ConnectionRow, true>)

/**
 * Where nothing was in doubt, failed or is being tried, the claim and the note that the refresh is about to be sent are
 * one statement. decideRefresh and decideSettlement say the same of such a row; a property test compares them.
 *
 * - The leases are counted by a function, row by row after the lock: it sees those that were given since the statement
 *   began. No lease is given after the lock.
 * - A row that somebody has locked is passed over, and has no row in the answer.
 */
const CLAIM_CLEAR: PreparedStatement = {
  name: 'claim-clear',
  text: `
  with past as materialized (select ${IS_AS_NEW('$2', '$3')} as is_as_new), request as materialized (
    select * from unnest($4::uuid[], $5::uuid[], $6::int[], $7::boolean[], $8::uuid[])
      as request (connection_id, claim_id, known_version, preempts, own_lease)
  ), locked as materialized (
    select * from connections
    where id = any ($4::uuid[]) and (select is_as_new from past) and status = 'active' and ${IS_REFRESHABLE('connections')}
      and attempt_id is null and unanswered_since is null and failing_since is null and retry_after is null
      and ($9::timestamptz is null or token_issued_at >= $9::timestamptz)
    order by id
    for update skip locked
  ), clear as materialized (
    select distinct on (locked.id) request.claim_id, locked.*
    from request
    join locked on locked.id = request.connection_id and locked.token_version <= request.known_version
    where (request.preempts or last_lease_end(
        locked.id, locked.token_version, request.own_lease, '${SERVICE_ID}', $1::timestamptz) is null)
  ), claimed as (
    update connections
    set attempt_id = clear.claim_id, attempt_kind = 'refresh', attempt_sent_at = $1::timestamptz,
      attempt_deadline = $1::timestamptz + make_interval(secs => ${CLAIM_SECONDS})
    from clear where connections.id = clear.id
  )
  select past.is_as_new, clear.claim_id, ${COLUMNS.map((column) => `clear.${column}`).join(', ')},
    instances.version as instance_version, oauth_apps.version as oauth_app_version
  from past
  left join clear on true
  left join instances on instances.id = clear.instance_id
  left join oauth_apps on oauth_apps.id = clear.oauth_app_id`,
}

type ClaimedRow = { is_as_new: boolean; claim_id: string | null } & ClaimableRow

/**
 * @param known what the database has to have of this node; undefined = nothing is known yet.
 * @param wentBackAt tokens that were issued before are in doubt.
 * @returns for each the row as it was before, undefined where something speaks against it; undefined for all when the
 *   database went back.
 */
export const claimClear = async (
  run: RunPrepared,
  claims: ClearClaim[],
  { now, known, wentBackAt }: { now: Date; known: Heartbeat | undefined; wentBackAt: Date | undefined },
): Promise<(ClaimableRow | undefined)[] | undefined> => {
  const rows = await run<ClaimedRow>(CLAIM_CLEAR, [
    now,
    known?.nodeId ?? null,
    known?.beat ?? null,
    claims.map(({ connectionId }) => connectionId),
    claims.map(({ attemptId }) => attemptId),
    claims.map(({ knownVersion }) => knownVersion),
    claims.map(({ preempts }) => preempts),
    claims.map(({ ownLease }) => ownLease ?? null),
    wentBackAt ?? null,
  ])
  if (rows[0]?.is_as_new !== true) return undefined
  const claimed = new Map(rows.map(({ is_as_new, claim_id, ...row }) => [claim_id, row]))
  return claims.map(({ attemptId }) => claimed.get(attemptId))
}

/** Gives back what may have been claimed by a statement whose answer was lost. */
export const releaseClaims = async (
  db: Database,
  claims: Pick<ClearClaim, 'connectionId' | 'attemptId'>[],
): Promise<void> => {
  await db
    .updateTable('connections')
    .set(NO_ATTEMPT)
    .where(
      'id',
      'in',
      claims.map(({ connectionId }) => connectionId),
    )
    .where(
      'attempt_id',
      'in',
      claims.map(({ attemptId }) => attemptId),
    )
    .execute()
}

export type LeaseQuestion = { connectionId: string; tokenVersion: number; except: string | undefined }

/** For each question the end of the last lease on a token version; null when nobody holds one but the service. */
export const findLeaseEnds = async (
  db: Database,
  questions: LeaseQuestion[],
  now: Date,
): Promise<(Date | null)[]> => {
  const { rows } = await sql<{ until: Date | null }>`
    select last_lease_end(connection_id, token_version, except_id, ${SERVICE_ID}::uuid, ${now}::timestamptz) as until
    from unnest(
      ${questions.map(({ connectionId }) => connectionId)}::uuid[],
      ${questions.map(({ tokenVersion }) => tokenVersion)}::int[],
      ${questions.map(({ except }) => except ?? null)}::uuid[]
    ) with ordinality as question (connection_id, token_version, except_id, number)
    order by number`.execute(db)
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
