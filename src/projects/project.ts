import { type Static, Type } from 'typebox'
import { pageOf, readCursor } from '../http/page.ts'
import { isoTimeOrNull, NullableInteger, NullableText, NullableTime, refTo } from '../http/schemas.ts'
import type { GroupRow, ProjectRow, ReachedCursor, ReachedProjectRow } from './queries.ts'

const Visibility = Type.Unsafe<string | null>({
  type: ['string', 'null'],
  enum: ['private', 'internal', 'public', null],
  description: 'Who sees it at GitLab. null: GitLab does not tell.',
})
const Missing = NullableTime(
  'Since when GitLab does not list it for this connection any more: deleted, or out of reach. null: GitLab lists it',
)
const Url = (example: string) =>
  Type.String({ description: 'Its address at GitLab, as lookups by URL take it.', examples: [example] })
const GitLabId = Type.Integer({
  description: 'Id at GitLab, which stays when it is renamed or moved.',
  examples: [278964],
})

const shared = {
  id: GitLabId,
  path: Type.String({ description: 'Full path as GitLab writes it.', examples: ['acme/platform/api'] }),
  url: Url('https://gitlab.com/acme/platform/api'),
  name: NullableText('Its name at GitLab. null: GitLab does not tell.'),
  visibility: Visibility,
  archived: Type.Boolean({ description: 'Whether the project is archived: nobody pushes to it.' }),
  default_branch: NullableText('null: the repository is empty, or GitLab does not tell.'),
  last_activity_at: NullableTime(
    'When something last happened in it, a push among others; GitLab writes it once an hour. null: GitLab does not tell',
  ),
  size_bytes: NullableInteger('Size of the repository. null: GitLab does not tell.'),
}

export const ReachedProject = Type.Object(
  {
    ...shared,
    organization: Type.String({ description: 'Slug of the organization.', examples: ['acme'] }),
    base_url: Type.String({
      description: 'Base URL of the GitLab instance.',
      examples: ['https://gitlab.com'],
    }),
    connection_ids: Type.Array(Type.String({ format: 'uuid' }), {
      description: 'The connections of the organization that reach it.',
    }),
  },
  { $id: 'ReachedProject', description: 'A project that connections of an organization reach.' },
)

export const ConnectionProject = Type.Object(
  { ...shared, missing_since: Missing },
  { $id: 'ConnectionProject', description: 'A project that a connection reaches, or reached.' },
)

export const ConnectionGroup = Type.Object(
  {
    id: GitLabId,
    path: Type.String({ description: 'Full path as GitLab writes it.', examples: ['acme/platform'] }),
    url: Url('https://gitlab.com/acme/platform'),
    name: NullableText('Its name at GitLab. null: GitLab does not tell.'),
    visibility: Visibility,
    parent_id: NullableInteger('Id of the group above it. null: it is a top-level group.'),
    missing_since: Missing,
  },
  { $id: 'ConnectionGroup', description: 'A group that a connection reaches, or reached.' },
)

export const ReachedProjectPage = pageOf('ReachedProjectPage', ReachedProject)
export const ConnectionProjectPage = pageOf('ConnectionProjectPage', ConnectionProject)
export const ConnectionGroupPage = pageOf('ConnectionGroupPage', ConnectionGroup)
export const PROJECT_SCHEMAS = [
  ReachedProject,
  ConnectionProject,
  ConnectionGroup,
  ReachedProjectPage,
  ConnectionProjectPage,
  ConnectionGroupPage,
]
export const refToPage = {
  reached: refTo(ReachedProjectPage),
  projects: refTo(ConnectionProjectPage),
  groups: refTo(ConnectionGroupPage),
}

const numberOrNull = (text: string | null): number | null => (text === null ? null : Number(text))

const toShared = (row: ProjectRow) => ({
  id: Number(row.id),
  path: row.path,
  url: `${row.base_url}/${row.path}`,
  name: row.name,
  visibility: row.visibility,
  archived: row.archived,
  default_branch: row.default_branch,
  last_activity_at: isoTimeOrNull(row.last_activity_at),
  size_bytes: numberOrNull(row.size_bytes),
})

export const toProject = (row: ProjectRow): Static<typeof ConnectionProject> => ({
  ...toShared(row),
  missing_since: isoTimeOrNull(row.missing_since),
})

export const toReachedProject = (row: ReachedProjectRow): Static<typeof ReachedProject> => ({
  ...toShared(row),
  organization: row.organization,
  base_url: row.base_url,
  connection_ids: row.connection_ids,
})

export const toGroup = (row: GroupRow): Static<typeof ConnectionGroup> => ({
  id: Number(row.id),
  path: row.path,
  url: `${row.base_url}/${row.path}`,
  name: row.name,
  visibility: row.visibility,
  parent_id: numberOrNull(row.parent_id),
  missing_since: isoTimeOrNull(row.missing_since),
})

/** An id at GitLab. */
const ID = /^[1-9]\d{0,15}$/
const REACHED = /^[a-z0-9._-]{1,64} [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12} [1-9]\d{0,15}$/

/** The id after which a page starts. */
export const readIdCursor = (cursor: string | undefined): string | undefined => readCursor(cursor, ID)

export const readReachedCursor = (cursor: string | undefined): ReachedCursor | undefined => {
  const after = readCursor(cursor, REACHED)
  if (after === undefined) return undefined
  const [organization = '', instanceId = '', projectId = ''] = after.split(' ')
  return { organization, instanceId, projectId }
}

export const reachedCursorOf = ({ organization, instance_id, id }: ReachedProjectRow): string =>
  `${organization} ${instance_id} ${id}`
