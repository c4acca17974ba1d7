import { type Selectable, sql, type Updateable } from 'kysely'
import { addSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { AttemptKind, ConnectionRow, ConnectionStatus, NewConnectionRow, Tables } from '../db/tables.ts'
import { type AfterFailure, CLAIM_SECONDS } from './refresh-decision.ts'

type Connections = Tables['connections']
export type ConnectionWithInstance = ConnectionRow & { base_url: string; oauth_app_slug: string | null }

const NO_FAILURE = {
  attempt_id: null,
  attempt_kind: null,
  attempt_deadline: null,
  attempt_sent_at: null,
  retry_after: null,
  unanswered_since: null,
  refused_since: null,
  failing_since: null,
  failure_count: 0,
  failure_code: null,
  failure_detail: null,
} as const satisfies Partial<Selectable<Connections>>

export const NO_ATTEMPT = {
  attempt_id: null,
  attempt_kind: null,
  attempt_deadline: null,
  attempt_sent_at: null,
} as const

const withInstance = (db: Database) =>
  db
    .selectFrom('connections')
    .innerJoin('instances', 'instances.id', 'connections.instance_id')
    .leftJoin('oauth_apps', 'oauth_apps.id', 'connections.oauth_app_id')
    .selectAll('connections')
    .select(['instances.base_url', 'oauth_apps.slug as oauth_app_slug'])

export const findConnection = (db: Database, id: string): Promise<ConnectionWithInstance | undefined> =>
  withInstance(db).where('connections.id', '=', id).executeTakeFirst()

export type ConnectionFilter = {
  organizations: string[] | undefined
  status?: ConnectionStatus | undefined
  baseUrl?: string | undefined
  after: string | undefined
  limit: number
  now: Date
}

export const listConnections = (
  db: Database,
  filter: ConnectionFilter,
): Promise<ConnectionWithInstance[]> => {
  let query = withInstance(db).orderBy('connections.id').limit(filter.limit)
  if (filter.organizations) query = query.where('connections.organization', 'in', filter.organizations)
  if (filter.status) query = query.where(effectiveStatus(filter.now), '=', filter.status)
  if (filter.baseUrl) query = query.where('instances.base_url', '=', filter.baseUrl)
  if (filter.after) query = query.where('connections.id', '>', filter.after)
  return query.execute()
}

/** The same rule as statusAt in connection.ts: past its end, a token that cannot be refreshed is expired. */
const effectiveStatus = (now: Date) => sql<ConnectionStatus>`case
  when connections.status = 'active' and connections.refresh_token is null and connections.token_expires_at <= ${now}
  then 'expired' else connections.status end`

/** The other connections of an account on an instance, in whichever organization; their tokens may be the same. */
export const findSiblings = (db: Database, row: ConnectionRow): Promise<ConnectionRow[]> =>
  db
    .selectFrom('connections')
    .selectAll()
    .where('instance_id', '=', row.instance_id)
    .where('gitlab_user_id', '=', row.gitlab_user_id)
    .where('method', '=', row.method)
    .where('id', '!=', row.id)
    .execute()

export type Identity = Pick<
  ConnectionRow,
  'organization' | 'instance_id' | 'method' | 'gitlab_user_id' | 'group_path'
>

export const lockConnectionByIdentity = (
  transaction: Database,
  identity: Identity,
): Promise<ConnectionRow | undefined> =>
  transaction
    .selectFrom('connections')
    .selectAll()
    .where('organization', '=', identity.organization)
    .where('instance_id', '=', identity.instance_id)
    .where('method', '=', identity.method)
    .where('gitlab_user_id', '=', identity.gitlab_user_id)
    .where('group_path', '=', identity.group_path)
    .forUpdate()
    .executeTakeFirst()

export const lockConnection = (transaction: Database, id: string): Promise<ConnectionRow | undefined> =>
  transaction.selectFrom('connections').selectAll().where('id', '=', id).forUpdate().executeTakeFirst()

/** @returns false when another transaction inserted the same identity first. */
export const insertConnection = async (transaction: Database, row: NewConnectionRow): Promise<boolean> => {
  const inserted = await transaction
    .insertInto('connections')
    .values(row)
    .onConflict((conflict) =>
      conflict.columns(['organization', 'instance_id', 'method', 'gitlab_user_id', 'group_path']).doNothing(),
    )
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

export const updateConnection = async (
  db: Database,
  id: string,
  changes: Updateable<Connections>,
): Promise<void> => {
  await db.updateTable('connections').set(changes).where('id', '=', id).execute()
}

/** A new token for a connection, from a person: takes the place of whatever was there, failures and attempts too. */
export const replaceToken = (
  transaction: Database,
  id: string,
  token: Updateable<Connections> & Pick<ConnectionRow, 'token_version' | 'access_token' | 'updated_at'>,
): Promise<void> =>
  updateConnection(transaction, id, {
    ...NO_FAILURE,
    status: 'active',
    status_reason: null,
    status_detail: null,
    ...token,
  })

export const deleteConnection = async (db: Database, id: string): Promise<boolean> => {
  const result = await db.deleteFrom('connections').where('id', '=', id).executeTakeFirst()
  return result.numDeletedRows > 0n
}

/** The end of the last lease on a token version; null when nobody holds one. */
export const findLeaseEnd = async (
  db: Database,
  { id, tokenVersion, now }: { id: string; tokenVersion: number; now: Date },
): Promise<Date | null> => {
  const { until } = await db
    .selectFrom('leases')
    .select(({ fn }) => fn.max('expires_at').as('until'))
    .where('connection_id', '=', id)
    .where('token_version', '=', tokenVersion)
    .where('released_at', 'is', null)
    .where('expires_at', '>', now)
    .executeTakeFirstOrThrow()
  return until as Date | null
}

export type Attempt = { id: string; kind: AttemptKind; deadline: Date }

export const claimConnection = (
  transaction: Database,
  id: string,
  attempt: Attempt,
  abandoned: Partial<ConnectionRow>,
): Promise<void> =>
  updateConnection(transaction, id, {
    ...abandoned,
    attempt_id: attempt.id,
    attempt_kind: attempt.kind,
    attempt_deadline: attempt.deadline,
    attempt_sent_at: null,
  })

const changedOne = async (query: Promise<{ numUpdatedRows: bigint }>): Promise<boolean> =>
  (await query).numUpdatedRows > 0n

/** Write-ahead: from here on GitLab may have acted. @returns false when the claim was taken over. */
export const markAttemptSent = (
  db: Database,
  id: string,
  attemptId: string,
  sentAt: Date,
): Promise<boolean> =>
  changedOne(
    db
      .updateTable('connections')
      // The time to answer counts from here: a slow database may have used up the claim's by now.
      .set({ attempt_sent_at: sentAt, attempt_deadline: addSeconds(sentAt, CLAIM_SECONDS) })
      .where('id', '=', id)
      .where('attempt_id', '=', attemptId)
      .where('attempt_deadline', '>', sentAt)
      .executeTakeFirstOrThrow(),
  )

export type IssuedToken = Pick<
  ConnectionRow,
  'token_version' | 'access_token' | 'refresh_token' | 'token_issued_at' | 'token_expires_at' | 'scopes'
>

/**
 * Compare and swap on the version: GitLab lets exactly one refresh of a token succeed, so while the version has not
 * moved this is the only living successor, whoever holds the claim by now.
 * @returns false when the connection has a newer token, or is gone.
 */
export const saveIssuedToken = (db: Database, id: string, token: IssuedToken): Promise<boolean> =>
  changedOne(
    db
      .updateTable('connections')
      .set({
        ...NO_FAILURE,
        ...token,
        status: 'active',
        status_reason: null,
        status_detail: null,
        last_verified_at: token.token_issued_at,
        updated_at: token.token_issued_at,
      })
      .where('id', '=', id)
      .where('token_version', '=', token.token_version - 1)
      .executeTakeFirstOrThrow(),
  )

/** @returns false when the claim was taken over: the loser marks nothing. */
export const saveFailure = (
  db: Database,
  id: string,
  attemptId: string,
  after: AfterFailure,
  now: Date,
): Promise<boolean> => {
  const { status, ...history } = after
  const ended =
    status === 'active'
      ? {}
      : { status, status_reason: history.failure_code, status_detail: history.failure_detail }
  return changedOne(
    db
      .updateTable('connections')
      .set({ ...NO_ATTEMPT, ...history, ...ended, updated_at: now })
      .where('id', '=', id)
      .where('attempt_id', '=', attemptId)
      .executeTakeFirstOrThrow(),
  )
}

/** Gives a claim back. @returns false when it was taken over, or the token replaced: then nothing is changed. */
export const releaseClaim = (
  db: Database,
  id: string,
  attemptId: string,
  changes: Updateable<Connections> = {},
): Promise<boolean> =>
  changedOne(
    db
      .updateTable('connections')
      .set({ ...NO_ATTEMPT, ...changes })
      .where('id', '=', id)
      .where('attempt_id', '=', attemptId)
      .executeTakeFirstOrThrow(),
  )

/** GitLab may have acted, and does not say: the token is not handed out until it does. */
export const saveDoubt = (
  db: Database,
  id: string,
  attemptId: string,
  { since, code, detail }: { since: Date; code: string; detail: string },
): Promise<boolean> =>
  changedOne(
    db
      .updateTable('connections')
      .set({
        ...NO_ATTEMPT,
        unanswered_since: since,
        failing_since: since,
        failure_code: code,
        failure_detail: detail,
        updated_at: since,
      })
      .where('id', '=', id)
      .where('attempt_id', '=', attemptId)
      .executeTakeFirstOrThrow(),
  )

/** What GitLab said of one token version. @returns false when the token changed meanwhile, or is being changed. */
export const saveVerification = (
  db: Database,
  row: Pick<ConnectionRow, 'id' | 'token_version'>,
  changes: Updateable<Connections>,
  now: Date,
): Promise<boolean> =>
  changedOne(
    db
      .updateTable('connections')
      .set(changes)
      .where('id', '=', row.id)
      .where('token_version', '=', row.token_version)
      .where((where) => where.or([where('attempt_id', 'is', null), where('attempt_deadline', '<=', now)]))
      .executeTakeFirstOrThrow(),
  )
