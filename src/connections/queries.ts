import { sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { ConnectionRow, ConnectionStatus, NewConnectionRow } from '../db/tables.ts'
import { type ConnectionWithInstance, withInstance } from '../token-lifecycle/queries.ts'

export type ConnectionFilter = {
  organizations: string[] | undefined
  status?: ConnectionStatus | undefined
  baseUrl?: string | undefined
  /** A name, or a name with its value. */
  label?: { name: string; value: string | undefined } | undefined
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
  if (filter.status) query = query.where(hasStatus(filter.status, filter.now))
  if (filter.baseUrl) query = query.where('connections.instance_id', '=', instanceAt(filter.baseUrl))
  if (filter.label) query = query.where(hasLabel(filter.label))
  if (filter.after) query = query.where('connections.id', '>', filter.after)
  return query.execute()
}

/** As the partial index connections_by_label has it. */
const hasLabel = ({ name, value }: { name: string; value: string | undefined }) =>
  value === undefined
    ? sql<boolean>`connections.labels <> '{}' and connections.labels ? ${name}`
    : sql<boolean>`connections.labels <> '{}' and connections.labels @> ${JSON.stringify({ [name]: value })}::jsonb`

/** A value, not a join: the connections of an instance are then read in the order of the page. */
const instanceAt = (baseUrl: string) => sql<string>`(select id from instances where base_url = ${baseUrl})`

/**
 * The same rule as statusAt in connection.ts: a token that cannot be refreshed is expired past its end. In words that
 * the partial indexes connections_ended and connections_to_expire have.
 */
const hasStatus = (status: ConnectionStatus, now: Date) => {
  const isPastItsEnd = sql`(connections.status = 'active'
    and (connections.refresh_token is null or connections.oauth_app_id is null)
    and connections.token_expires_at <= ${now}::timestamptz)`
  switch (status) {
    case 'active':
      return sql<boolean>`connections.status = 'active' and ${isPastItsEnd} is not true`
    case 'expired':
      return sql<boolean>`(connections.status = 'expired' or ${isPastItsEnd})`
    default:
      return sql<boolean>`connections.status = ${sql.lit(status)}`
  }
}

/** An account of GitLab, as an organization has connected it. */
export type Account = Pick<ConnectionRow, 'organization' | 'instance_id' | 'method' | 'gitlab_user_id'>

/** The connections of an account: those that a person has to mend first, then the oldest. */
export const lockConnectionsOfAccount = (transaction: Database, account: Account): Promise<ConnectionRow[]> =>
  transaction
    .selectFrom('connections')
    .selectAll()
    .where('organization', '=', account.organization)
    .where('instance_id', '=', account.instance_id)
    .where('method', '=', account.method)
    .where('gitlab_user_id', '=', account.gitlab_user_id)
    .orderBy(sql`status = 'active'`)
    .orderBy('id')
    .forUpdate()
    .execute()

/** Whether a GitLab account is connected in an organization other than this one, by whatever method. */
export const isConnectedElsewhere = async (
  db: Database,
  { organization, instanceId, gitlabUserId }: Record<'organization' | 'instanceId' | 'gitlabUserId', string>,
): Promise<boolean> => {
  const row = await db
    .selectFrom('connections')
    .select('id')
    .where('gitlab_user_id', '=', gitlabUserId)
    .where('instance_id', '=', instanceId)
    .where('organization', '<>', organization)
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}

/** @returns false when the account has a connection with this group_path, perhaps inserted a moment ago. */
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

/** Says who a connection is, when somebody else takes it over. */
export const changeIdentity = async (
  transaction: Database,
  id: string,
  identity: Pick<ConnectionRow, 'method' | 'gitlab_user_id' | 'group_path'>,
): Promise<void> => {
  const { method, gitlab_user_id, group_path } = identity
  await transaction
    .updateTable('connections')
    .set({ method, gitlab_user_id, group_path })
    .where('id', '=', id)
    .execute()
}

/** Whether another connection of an account has this group_path. */
export const isIdentityTaken = async (
  transaction: Database,
  { organization, instance_id, method, gitlab_user_id }: Account,
  groupPath: string,
  exceptId: string,
): Promise<boolean> => {
  const row = await transaction
    .selectFrom('connections')
    .select('id')
    .where('gitlab_user_id', '=', gitlab_user_id)
    .where('instance_id', '=', instance_id)
    .where('organization', '=', organization)
    .where('method', '=', method)
    .where('group_path', '=', groupPath)
    .where('id', '<>', exceptId)
    .executeTakeFirst()
  return row !== undefined
}

/** Changes what a person may change: the name, the labels, and whether the broker rotates the token by itself. */
export const updateSettings = async (
  db: Database,
  id: string,
  settings: Partial<Pick<ConnectionRow, 'name' | 'auto_rotate' | 'labels'>>,
  now: Date,
): Promise<void> => {
  await db
    .updateTable('connections')
    .set({ ...settings, updated_at: now })
    .where('id', '=', id)
    .execute()
}

/** @returns false when another writer has the claim by now, or the token was replaced: then nothing is deleted. */
export const deleteConnection = async (db: Database, id: string, attemptId: string): Promise<boolean> => {
  const result = await db
    .deleteFrom('connections')
    .where('id', '=', id)
    .where('attempt_id', '=', attemptId)
    .executeTakeFirst()
  return result.numDeletedRows > 0n
}
