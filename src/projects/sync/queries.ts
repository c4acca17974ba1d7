import { type SqlBool, sql, type UpdateObject } from 'kysely'
import type { Database } from '../../db/database.ts'
import type { ConnectionSyncRow, Tables } from '../../db/tables.ts'
import type { ListedGroup, ListedProject } from '../../gitlab/listings.ts'
import { matchPathOf } from '../../places/place.ts'

/** How far the reading of a connection's projects is, and what it found. */

export const findSync = (db: Database, connectionId: string): Promise<ConnectionSyncRow | undefined> =>
  db.selectFrom('connection_syncs').selectAll().where('connection_id', '=', connectionId).executeTakeFirst()

/**
 * Makes a full run due now. A run that is under way, or was interrupted, goes on as what it is.
 * @returns false when the connection is gone.
 */
export const requestSync = async (db: Database, connectionId: string, now: Date): Promise<boolean> => {
  const { numAffectedRows } = await sql`
    insert into connection_syncs (connection_id, state, kind, due_at)
    select id, 'waiting', 'full', ${now} from connections where id = ${connectionId}::uuid for key share
    on conflict (connection_id) do update set
      wants_full = connection_syncs.wants_full or connection_syncs.step is null or connection_syncs.kind <> 'full',
      due_at = least(connection_syncs.due_at, excluded.due_at),
      -- What was not permitted is asked once more.
      state = case connection_syncs.state when 'not_permitted' then 'waiting' else connection_syncs.state end,
      token_version = null`.execute(db)
  return numAffectedRows !== 0n
}

/** Locked before its rows in other tables, as whoever deletes it does. @returns false when it is gone. */
export const keepConnection = async (transaction: Database, id: string): Promise<boolean> => {
  const row = await transaction
    .selectFrom('connections')
    .select('id')
    .where('id', '=', id)
    .forKeyShare()
    .executeTakeFirst()
  return row !== undefined
}

const isFree = (now: Date) =>
  sql<SqlBool>`(connection_syncs.attempt_id is null or connection_syncs.attempt_deadline <= ${now})`

const ONLY_ACTIVE = "connections.status = 'active'"
/** A token without the scope is not tried again before there is another. */
const MAY_LIST = `(connection_syncs.state <> 'not_permitted'
  or connection_syncs.token_version is distinct from connections.token_version)`

export type DueSync = { id: string; instance_id: string }
type Wanted = { limit: number; except: string[]; notOfInstances: string[] }

/** Active connections whose reading is due and which nobody reads, the longest due first. */
export const findDueSyncs = (
  db: Database,
  now: Date,
  { limit, except, notOfInstances }: Wanted,
): Promise<DueSync[]> =>
  db
    .selectFrom('connection_syncs')
    .innerJoin('connections', 'connections.id', 'connection_syncs.connection_id')
    .select(['connections.id', 'connections.instance_id'])
    .where('connection_syncs.due_at', '<=', now)
    .where(sql.raw<SqlBool>(ONLY_ACTIVE))
    .where(sql.raw<SqlBool>(MAY_LIST))
    .where(isFree(now))
    .where(sql<SqlBool>`connections.id <> all (${except}::uuid[])`)
    .where(sql<SqlBool>`connections.instance_id <> all (${notOfInstances}::uuid[])`)
    .orderBy('connection_syncs.due_at')
    .limit(limit)
    .execute()

/** What cannot be read now stands in the way of nothing that is due: looked at again after an hour, or a day. */
export const putOffHopeless = async (db: Database, now: Date): Promise<void> => {
  await sql`
    update connection_syncs set due_at = ${now}::timestamptz
      + case when ${sql.raw(ONLY_ACTIVE)} then interval '1 day' else interval '1 hour' end
    from connections
    where connections.id = connection_syncs.connection_id and connection_syncs.due_at <= ${now}::timestamptz
      and not (${sql.raw(ONLY_ACTIVE)} and ${sql.raw(MAY_LIST)})`.execute(db)
}

export type SyncChanges = UpdateObject<Tables, 'connection_syncs'>

export const RELEASED = { attempt_id: null, attempt_deadline: null } as const

/** @returns the row as it was left; undefined = another process reads it or has read it, or the connection is gone. */
export const claimSync = (
  db: Database,
  connectionId: string,
  { attemptId, deadline, now }: { attemptId: string; deadline: Date; now: Date },
): Promise<ConnectionSyncRow | undefined> =>
  db.transaction().execute(async (transaction) => {
    await sql`
      insert into connection_syncs (connection_id, state, kind, due_at)
      select id, 'waiting', 'full', ${now} from connections where id = ${connectionId} for key share
      on conflict do nothing`.execute(transaction)
    return (
      transaction
        .updateTable('connection_syncs')
        .set({ attempt_id: attemptId, attempt_deadline: deadline })
        .where('connection_id', '=', connectionId)
        // Another process may have read it since it was found due.
        .where('due_at', '<=', now)
        .where(isFree(now))
        .returningAll()
        .executeTakeFirst()
    )
  })

export type SyncClaim = { connectionId: string; attemptId: string }

/** @returns false when another process has the claim by now: then nothing is changed. */
export const changeSync = async (
  db: Database,
  { connectionId, attemptId }: SyncClaim,
  changes: SyncChanges,
): Promise<boolean> => {
  const { numUpdatedRows } = await db
    .updateTable('connection_syncs')
    .set(changes)
    .where('connection_id', '=', connectionId)
    .where('attempt_id', '=', attemptId)
    .executeTakeFirstOrThrow()
  return numUpdatedRows > 0n
}

/** The end of a run. Where a full run was asked for meanwhile, that is due at once. */
export const finishSync = (
  db: Database,
  claim: SyncClaim,
  { changes, now, dueAt }: { changes: SyncChanges; now: Date; dueAt: Date },
): Promise<boolean> =>
  changeSync(db, claim, {
    ...changes,
    ...RELEASED,
    state: 'done',
    step: null,
    position: 0,
    finished_at: now,
    failures: 0,
    error_code: null,
    error_detail: null,
    due_at: sql`case when wants_full then ${now}::timestamptz else ${dueAt}::timestamptz end`,
  })

export type ReadConnection = { id: string; organization: string; instance_id: string }

/** Adds what a page told. A project that was renamed keeps its former path, unless another project has that now. */
export const saveProjects = async (
  transaction: Database,
  { id, organization, instance_id }: ReadConnection,
  run: number,
  projects: readonly ListedProject[],
): Promise<void> => {
  if (projects.length === 0) return
  const items = JSON.stringify(
    projects.map((project) => ({
      project_id: project.id,
      path: project.path,
      match_path: matchPathOf(project.path),
      name: project.name,
      visibility: project.visibility,
      archived: project.archived,
      default_branch: project.defaultBranch,
      last_activity_at: project.lastActivityAt,
      size_bytes: project.sizeBytes,
    })),
  )
  await sql`
    insert into connection_projects as known (connection_id, project_id, organization, instance_id, path, match_path,
      name, visibility, archived, default_branch, last_activity_at, size_bytes, seen_run)
    select ${id}::uuid, project_id, ${organization}, ${instance_id}::uuid, path, match_path, name, visibility, archived,
      default_branch, last_activity_at, size_bytes, ${run}::int
    from jsonb_to_recordset(${items}::jsonb) as item (project_id bigint, path text, match_path text, name text,
      visibility text, archived boolean, default_branch text, last_activity_at timestamptz, size_bytes bigint)
    on conflict (connection_id, project_id) do update set
      path = excluded.path, match_path = excluded.match_path, name = excluded.name, visibility = excluded.visibility,
      archived = excluded.archived, default_branch = excluded.default_branch,
      last_activity_at = excluded.last_activity_at, size_bytes = coalesce(excluded.size_bytes, known.size_bytes),
      seen_run = excluded.seen_run, missing_since = null`.execute(transaction)
  await sql`
    insert into connection_project_paths as known (connection_id, match_path, project_id)
    select ${id}::uuid, match_path, project_id
    from jsonb_to_recordset(${items}::jsonb) as item (project_id bigint, match_path text)
    on conflict (connection_id, match_path) do update set project_id = excluded.project_id
    where known.project_id <> excluded.project_id`.execute(transaction)
}

export const saveGroups = async (
  transaction: Database,
  { id }: ReadConnection,
  run: number,
  groups: readonly ListedGroup[],
): Promise<void> => {
  if (groups.length === 0) return
  const items = JSON.stringify(
    groups.map((group) => ({
      group_id: group.id,
      path: group.path,
      match_path: matchPathOf(group.path),
      name: group.name,
      visibility: group.visibility,
      parent_id: group.parentId,
    })),
  )
  await sql`
    insert into connection_groups (connection_id, group_id, path, match_path, name, visibility, parent_id, seen_run)
    select ${id}::uuid, group_id, path, match_path, name, visibility, parent_id, ${run}::int
    from jsonb_to_recordset(${items}::jsonb) as item (group_id bigint, path text, match_path text, name text,
      visibility text, parent_id bigint)
    on conflict (connection_id, group_id) do update set
      path = excluded.path, match_path = excluded.match_path, name = excluded.name, visibility = excluded.visibility,
      parent_id = excluded.parent_id, seen_run = excluded.seen_run, missing_since = null`.execute(transaction)
}

export const MARKED_AT_ONCE = 5_000

/** Marks projects that no run since `lastSeen` saw, and forgets their paths. @returns how many; fewer than the most = all. */
export const markMissingProjects = async (
  transaction: Database,
  connectionId: string,
  { lastSeen, now }: { lastSeen: number; now: Date },
): Promise<number> => {
  const { rows } = await sql<{ marked: number }>`
    with gone as (
      select connection_id, project_id from connection_projects
      where connection_id = ${connectionId}::uuid and seen_run < ${lastSeen} and missing_since is null
      limit ${MARKED_AT_ONCE}
    ), forgotten as (
      delete from connection_project_paths using gone
      where connection_project_paths.connection_id = gone.connection_id
        and connection_project_paths.project_id = gone.project_id
    ), marked as (
      update connection_projects set missing_since = ${now} from gone
      where connection_projects.connection_id = gone.connection_id
        and connection_projects.project_id = gone.project_id
      returning 1
    )
    select count(*)::int as marked from marked`.execute(transaction)
  return rows[0]?.marked ?? 0
}

export const markMissingGroups = async (
  transaction: Database,
  connectionId: string,
  { lastSeen, now }: { lastSeen: number; now: Date },
): Promise<void> => {
  await transaction
    .updateTable('connection_groups')
    .set({ missing_since: now })
    .where('connection_id', '=', connectionId)
    .where('seen_run', '<', lastSeen)
    .where('missing_since', 'is', null)
    .execute()
}

/** The greatest id that is known of a connection's projects; 0 = none is. */
export const findGreatestProjectId = async (db: Database, connectionId: string): Promise<number> => {
  const row = await db
    .selectFrom('connection_projects')
    .select(sql<string>`project_id::text`.as('project_id'))
    .where('connection_id', '=', connectionId)
    .orderBy('connection_projects.project_id', 'desc')
    .limit(1)
    .executeTakeFirst()
  return Number(row?.project_id ?? 0)
}

/** How many projects and groups a connection reaches. */
export const countReached = async (
  db: Database,
  connectionId: string,
): Promise<{ projects: number; groups: number }> => {
  const { rows } = await sql<{ projects: number; groups: number }>`
    select
      (select count(*) from connection_projects where connection_id = ${connectionId}::uuid and missing_since is null)::int as projects,
      (select count(*) from connection_groups where connection_id = ${connectionId}::uuid and missing_since is null)::int as groups`.execute(
    db,
  )
  return rows[0] ?? { projects: 0, groups: 0 }
}
