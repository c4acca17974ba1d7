import type { ColumnType, Generated } from 'kysely'

/** The tables of what connections reach at GitLab. */

/** A number of GitLab or of bytes: a string when it is read, which each reader casts to text first. */
type BigInteger = ColumnType<string, string | number, string | number>

export type ConnectionProjects = {
  connection_id: string
  project_id: BigInteger
  /** As in the row of the connection; so is instance_id. */
  organization: string
  instance_id: string
  /** As GitLab writes it. */
  path: string
  /** The path in lower case. */
  match_path: string
  name: string | null
  visibility: string | null
  archived: Generated<boolean>
  default_branch: string | null
  last_activity_at: Date | null
  size_bytes: BigInteger | null
  /** The last full run that saw the project. */
  seen_run: Generated<number>
  /** Since when GitLab does not list the project any more; null = GitLab lists it. */
  missing_since: Date | null
}

/** The current and the former paths of the projects that are not missing. */
export type ConnectionProjectPaths = {
  connection_id: string
  match_path: string
  project_id: BigInteger
}

export type ConnectionGroups = {
  connection_id: string
  group_id: BigInteger
  path: string
  match_path: string
  name: string | null
  visibility: string | null
  parent_id: BigInteger | null
  seen_run: Generated<number>
  missing_since: Date | null
}

export type SyncState = 'waiting' | 'running' | 'done' | 'not_permitted'
export type SyncKind = 'full' | 'incremental'

export type ConnectionSyncs = {
  connection_id: string
  state: SyncState
  kind: SyncKind
  /** The next run is to be a full one. */
  wants_full: Generated<boolean>
  /** Counts up with each full run that begins. */
  run: Generated<number>
  /** Which list is being read; null = no run is under way or was interrupted. */
  step: string | null
  /** The id after which, or the page at which, the list goes on. */
  position: ColumnType<string, string | number | undefined, string | number>
  /** No item of the list can have slipped from one page to another unseen. */
  is_exact: Generated<boolean>
  /** What was active since then is read by an incremental run. */
  since: Date | null
  /** The claim of the one process that reads. */
  attempt_id: string | null
  attempt_deadline: Date | null
  /** Of the token that is not permitted to list. */
  token_version: number | null
  /** Of this run. */
  pages: Generated<number>
  projects: Generated<number>
  groups: Generated<number>
  /** As of the end of the last run. */
  reached_projects: number | null
  reached_groups: number | null
  started_at: Date | null
  finished_at: Date | null
  /** When the last run that ended, and the last full one, began. */
  synced_to: Date | null
  full_synced_to: Date | null
  /** In a row. */
  failures: Generated<number>
  error_code: string | null
  error_detail: string | null
  due_at: Date
}
