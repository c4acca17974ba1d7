import type { Selectable, Updateable, UpdateObject } from 'kysely'
import { type AuditEvent, recordAuditEventOfEach } from '../audit/queries.ts'
import type { Database } from '../db/database.ts'
import type { AttemptKind, ConnectionRow, Tables } from '../db/tables.ts'
import { WAITING_CODES } from '../gitlab/owner-refusal.ts'
import { type AfterFailure, EARLY_PAUSE_SHARE, LONGEST_EARLY_PAUSE_SECONDS } from './refresh-decision.ts'

/** What the files of this room read and write of a stored token. The room `connections` writes what else there is in the table: identity and name. */

type Connections = Tables['connections']
export type ConnectionWithInstance = ConnectionRow & { base_url: string; oauth_app_slug: string | null }

/** The same rule as isRefreshable in refresh-decision.ts. */
export const IS_REFRESHABLE = (connection: string): string =>
  `(${connection}.refresh_token is not null and ${connection}.oauth_app_id is not null)`

/** The same rule as endOfEarlyPause in leases/serving-decision.ts; null when no refresh has failed. */
export const END_OF_EARLY_PAUSE = (connection: string, now: string): string =>
  `(${connection}.retry_after + least((${connection}.token_expires_at - ${now}) / ${EARLY_PAUSE_SHARE},
    make_interval(secs => ${LONGEST_EARLY_PAUSE_SECONDS})))`

export const NO_ATTEMPT = {
  attempt_id: null,
  attempt_kind: null,
  attempt_deadline: null,
  attempt_sent_at: null,
} as const

export const NO_FAILURE = {
  ...NO_ATTEMPT,
  retry_after: null,
  unanswered_since: null,
  refused_since: null,
  failing_since: null,
  failure_count: 0,
  failure_code: null,
  failure_detail: null,
  rotate_after: null,
  rotation_failures: 0,
  rotation_failure_code: null,
  rotation_failure_detail: null,
} as const satisfies Partial<Selectable<Connections>>

const ACTIVE = { status: 'active', status_reason: null, status_detail: null } as const

export const withInstance = (db: Database) =>
  db
    .selectFrom('connections')
    .innerJoin('instances', 'instances.id', 'connections.instance_id')
    .leftJoin('oauth_apps', 'oauth_apps.id', 'connections.oauth_app_id')
    .selectAll('connections')
    .select(['instances.base_url', 'oauth_apps.slug as oauth_app_slug'])

export const findConnection = (db: Database, id: string): Promise<ConnectionWithInstance | undefined> =>
  withInstance(db).where('connections.id', '=', id).executeTakeFirst()

/** The other connections of an account on an instance, of every organization; their tokens may be the same. */
export const findSiblings = (db: Database, row: ConnectionRow): Promise<ConnectionRow[]> =>
  db
    .selectFrom('connections')
    .selectAll()
    .where('instance_id', '=', row.instance_id)
    .where('gitlab_user_id', '=', row.gitlab_user_id)
    .where('method', '=', row.method)
    .where('id', '!=', row.id)
    .execute()

export const lockConnection = (transaction: Database, id: string): Promise<ConnectionRow | undefined> =>
  transaction.selectFrom('connections').selectAll().where('id', '=', id).forUpdate().executeTakeFirst()

const update = (db: Database, id: string, changes: UpdateObject<Tables, 'connections'>) =>
  db.updateTable('connections').set(changes).where('id', '=', id)

type Update = ReturnType<typeof update>
type Event = Pick<AuditEvent, 'action' | 'at' | 'outcome' | 'tokenHash' | 'details'>

/**
 * @param event recorded by the same statement, and only with the change.
 * @returns whether the row was still as the conditions of the update say.
 */
const changedOne = async (db: Database, query: Update, event?: Event): Promise<boolean> => {
  if (event) return (await recordAuditEventOfEach(db, query.returning(['id', 'organization']), event)) > 0
  return (await query.executeTakeFirstOrThrow()).numUpdatedRows > 0n
}

type Changes = Updateable<Connections> & { updated_at: Date }

/** What is recorded of a change that ends a connection; undefined when the change does not end it. */
const endingEvent = ({ status, status_reason, updated_at }: Changes): Event | undefined =>
  status === undefined || status === 'active'
    ? undefined
    : {
        action: 'connection.failed',
        at: updated_at,
        outcome: 'failed',
        details: { status, reason: status_reason ?? null },
      }

const WAITS_FOR_OWNER = `(status = 'needs_reauthorization' and status_reason in (${WAITING_CODES.map((code) => `'${code}'`).join(', ')}))`

/**
 * The columns that tell of failures and attempts, as a token that was just issued leaves them. While GitLab refuses the
 * owner, a new token changes nothing about that: only a check with the token does.
 */
export const AS_WITH_NEW_TOKEN = Object.entries({
  ...NO_FAILURE,
  status: `case when ${WAITS_FOR_OWNER} then status else 'active' end`,
  status_reason: `case when ${WAITS_FOR_OWNER} then status_reason end`,
  status_detail: `case when ${WAITS_FOR_OWNER} then status_detail end`,
})
  .map(([column, value]) => `${column} = ${value}`)
  .join(', ')

/** Puts a token that a person gave in the place of the stored one; failures and attempts of that one are over. */
export const saveReplacedToken = async (
  transaction: Database,
  id: string,
  token: Updateable<Connections> & Pick<ConnectionRow, 'token_version' | 'access_token' | 'updated_at'>,
): Promise<void> => {
  await update(transaction, id, { ...NO_FAILURE, ...ACTIVE, ...token }).execute()
}

export type Attempt = { id: string; kind: AttemptKind; deadline: Date }

/** The writer is still waiting for GitLab. @returns false when another writer has the claim by now. */
export const prolongClaim = (db: Database, id: string, attemptId: string, deadline: Date): Promise<boolean> =>
  changedOne(db, update(db, id, { attempt_deadline: deadline }).where('attempt_id', '=', attemptId))

/** The grant that a token descends from. An older version of the broker leaves the column empty. */
export const GRANT = 'coalesce(connections.grant_id, connections.id)'

/** Whether the row holds an older token: of an older grant, or of the same grant with a lower version. */
export const IS_BEHIND = (issued: string): string =>
  `(${GRANT} < ${issued}.grant_id or (${GRANT} = ${issued}.grant_id and connections.token_version < ${issued}.token_version))`

export type IssuedToken = Pick<
  ConnectionRow,
  'token_version' | 'access_token' | 'refresh_token' | 'token_issued_at' | 'token_expires_at' | 'scopes'
>

export type TokenToSave = {
  connectionId: string
  grantId: string
  token: IssuedToken
  /** For the record. */
  tokenHash: string | undefined
}

/** @returns false when another writer has the claim by now: then nothing is changed. */
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
  return endAttempt(db, id, attemptId, { ...history, ...ended, updated_at: now })
}

/** Gives a claim back. @returns false when another writer has it by now, or the token was replaced: then nothing is changed. */
export const releaseClaim = (db: Database, id: string, attemptId: string): Promise<boolean> =>
  changedOne(db, update(db, id, NO_ATTEMPT).where('attempt_id', '=', attemptId))

/** Gives a claim back with what the attempt came to. @returns as releaseClaim */
export const endAttempt = (db: Database, id: string, attemptId: string, changes: Changes): Promise<boolean> =>
  changedOne(
    db,
    update(db, id, { ...NO_ATTEMPT, ...changes }).where('attempt_id', '=', attemptId),
    endingEvent(changes),
  )

/** GitLab may have acted, and does not say: the token is not handed out until it does. */
export const saveDoubt = (
  db: Database,
  id: string,
  attemptId: string,
  { since, code, detail }: { since: Date; code: string; detail: string },
): Promise<boolean> =>
  endAttempt(db, id, attemptId, {
    unanswered_since: since,
    failing_since: since,
    failure_code: code,
    failure_detail: detail,
    updated_at: since,
  })

/**
 * What GitLab said of one token version.
 * @param row as it was read before GitLab was asked.
 * @returns false when the token was changed meanwhile, is being changed, or a request about it lost its answer.
 */
export const saveVerification = (
  db: Database,
  row: Pick<ConnectionRow, 'id' | 'token_version' | 'attempt_id' | 'unanswered_since'>,
  changes: Changes,
  now: Date,
): Promise<boolean> =>
  changedOne(
    db,
    update(db, row.id, changes)
      .where('token_version', '=', row.token_version)
      .where('unanswered_since', 'is not distinct from', row.unanswered_since)
      .where('attempt_id', 'is not distinct from', row.attempt_id)
      .where((where) => where.or([where('attempt_id', 'is', null), where('attempt_deadline', '<=', now)])),
    endingEvent(changes),
  )
