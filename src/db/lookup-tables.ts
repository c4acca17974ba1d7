import type { Generated } from 'kysely'

/** The tables by which a URL finds its connection. */

export type PlaceKind = 'instance' | 'group' | 'project'

/** What a connection covers: one row for each place, one more for each path that a place had before. */
export type ConnectionPlaces = {
  connection_id: string
  /** As in the row of the connection; so is organization. */
  instance_id: string
  organization: string
  /** null = a group or a project: GitLab was not asked which. */
  kind: PlaceKind | null
  gitlab_id: string | null
  /** As GitLab writes it; '' = the whole instance. */
  path: string
  /** The path in lower case, by which URLs find it. */
  match_path: string
  is_former: Generated<boolean>
  /** When GitLab was last asked what the place is called; null = never since that is noted. */
  looked_at: Generated<Date | null>
  /** When GitLab is asked next without anybody's doing; at first long ago. */
  look_due_at: Generated<Date>
  /** How often in a row GitLab did not tell. */
  look_failures: Generated<number>
}

/** Kept by triggers (migrations/0014_directories.ts). */
export type DirectoryVersions = {
  /** '' = the row of the instances themselves. */
  organization: string
  instance_id: string
  version: string
}

/** What GitLab said of a connection at a project. */
export type ReachProofs = {
  connection_id: string
  /** Path of the project in lower case. */
  match_path: string
  reaches: boolean
  proven_at: Date
}
