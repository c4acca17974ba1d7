import { sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { ConnectionRow, ConnectionStatus, NewConnectionRow } from '../db/tables.ts'
import { type ConnectionWithInstance, IS_REFRESHABLE, withInstance } from '../token-lifecycle/queries.ts'

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

/** The same rule as statusAt in connection.ts: a token that cannot be refreshed is expired past its end. */
const effectiveStatus = (now: Date) => sql<ConnectionStatus>`case
  when connections.status = 'active' and connections.token_expires_at <= ${now}
    and not ${sql.raw(IS_REFRESHABLE('connections'))}
  then 'expired' else connections.status end`

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

/** Changes what a person may change: the name, and whether the broker rotates the token by itself. */
export const updateSettings = async (
  db: Database,
  id: string,
  settings: Partial<Pick<ConnectionRow, 'name' | 'auto_rotate'>>,
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
