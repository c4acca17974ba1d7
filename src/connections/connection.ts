import { type Static, Type } from 'typebox'
import type { PlaceKind } from '../db/lookup-tables.ts'
import type { ConnectionRow, ConnectionStatus } from '../db/tables.ts'
import { pageOf } from '../http/page.ts'
import {
  Id,
  idParams,
  isoTime,
  isoTimeOrNull,
  Labels,
  NullableCode,
  NullableInteger,
  NullableText,
  NullableTime,
  refTo,
  STATUS_REASONS,
  Status,
  type StatusReason,
  Time,
  TokenKind,
} from '../http/schemas.ts'
import type { Place } from '../places/place.ts'
import type { ConnectionWithInstance } from '../token-lifecycle/queries.ts'
import { isRefreshable, TOKEN_REACHED_ITS_END } from '../token-lifecycle/refresh-decision.ts'

export const GitLabUser = Type.Object(
  {
    id: NullableInteger('Id of the account at GitLab. null: GitLab once named something that is no number.'),
    username: NullableText('null: the scopes of the token do not let the service ask.'),
    name: NullableText('null: the scopes of the token do not let the service ask.'),
  },
  { $id: 'GitLabUser', description: 'The GitLab account that a token belongs to.' },
)

export const ConnectionPlace = Type.Object(
  {
    kind: Type.Unsafe<PlaceKind | null>({
      type: ['string', 'null'],
      enum: ['instance', 'group', 'project', null],
      description: 'null: a group or a project; GitLab was not asked which.',
    }),
    id: NullableInteger('Id of the group or project at GitLab. null: not known, or the whole instance.'),
    path: Type.String({
      description: 'Full path as GitLab writes it. Empty: the whole instance.',
      examples: ['acme/platform'],
    }),
  },
  { $id: 'ConnectionPlace', description: 'A group, a project, or the whole instance.' },
)

/** A connection without its secrets. */
export const Connection = Type.Object(
  {
    id: Id('Id of the connection.'),
    organization: Type.String({
      description: 'Slug of the organization to which the connection belongs.',
      examples: ['acme'],
    }),
    name: NullableText('What people call the connection. null: it has no name.'),
    base_url: Type.String({
      description: 'Base URL of the GitLab instance.',
      examples: ['https://gitlab.com'],
    }),
    method: Type.Union([Type.Literal('oauth'), Type.Literal('token')], {
      description: 'How a person connected it: by OAuth, or with a token.',
    }),
    token_kind: TokenKind,
    user: refTo(GitLabUser),
    group: NullableText(
      'Full path of the group or project to which the connection is limited; of several, with commas between. null: everything that the token reaches.',
    ),
    places: Type.Array(refTo(ConnectionPlace), {
      description: 'What the connection covers, each with everything below it.',
    }),
    labels: Labels,
    oauth_app: NullableText(
      'Slug of the OAuth app through which the service refreshes the token. null: none.',
    ),
    scopes: Type.Array(Type.String(), { description: 'Scopes of the token at GitLab.' }),
    status: Status,
    status_reason: NullableCode(
      STATUS_REASONS,
      'Why the connection is not active. Of an active one: why GitLab does not rotate its token. null: nothing is wrong.',
    ),
    status_detail: NullableText('The first cause as a sentence for people. null: nothing is wrong.'),
    refreshable: Type.Boolean({ description: 'Whether the service can renew the token by itself.' }),
    auto_rotate: Type.Boolean({ description: 'Whether the service rotates the token before it ends.' }),
    token_version: Type.Integer({ description: 'Counts up each time the stored token changes.' }),
    expires_at: NullableTime('When the current token ends; null: never'),
    last_verified_at: NullableTime('When GitLab last confirmed the token; null: not yet'),
    created_at: Time('When the connection was made'),
    updated_at: Time('When it was last changed'),
  },
  { $id: 'Connection', description: 'A GitLab account that somebody connected, without its secrets.' },
)

/** The same as the answer to who has just connected. */
export const Connected = Type.Object(
  {
    ...Connection.properties,
    replaced: Type.Boolean({
      description: 'Whether the token took the place of an earlier one of the same connection.',
    }),
  },
  { $id: 'ConnectedConnection', description: 'A connection that has just got its token.' },
)

export const ConnectionParams = idParams('Id of the connection: `id` of `GET /v1/connections`.')

export const ConnectionPage = pageOf('ConnectionPage', Connection)

/** A token that cannot be refreshed is expired past its end, even while the row still says active. */
export const statusAt = (row: ConnectionRow, now: Date): ConnectionStatus =>
  row.status === 'active' &&
  !isRefreshable(row) &&
  row.token_expires_at !== null &&
  row.token_expires_at <= now
    ? 'expired'
    : row.status

/** Rows of before may hold anything that a GitLab answered: one of them must not fail a whole list. */
const accountIdOf = ({ gitlab_user_id }: ConnectionRow): number | null =>
  /^\d{1,15}$/.test(gitlab_user_id) ? Number(gitlab_user_id) : null

/** An active connection tells why its token is not rotated. */
const rotationOf = ({ status }: ConnectionRow, told: string | null): string | null =>
  status === 'active' ? told : null

export const toConnection = (
  row: ConnectionWithInstance,
  places: readonly Place[],
  now: Date,
): Static<typeof Connection> => {
  const status = statusAt(row, now)
  const justExpired = status === 'expired' && row.status === 'active'
  return {
    id: row.id,
    organization: row.organization,
    name: row.name,
    base_url: row.base_url,
    method: row.method,
    token_kind: row.token_kind,
    user: { id: accountIdOf(row), username: row.gitlab_username, name: row.gitlab_name },
    group: places.map(({ path }) => path).join(', ') || null,
    places: places.map(({ kind, gitlabId, path }) => ({
      kind,
      id: gitlabId === null ? null : Number(gitlabId),
      path,
    })),
    labels: row.labels,
    oauth_app: row.oauth_app_slug,
    scopes: row.scopes,
    status,
    status_reason: justExpired
      ? 'token_expired'
      : ((row.status_reason ?? rotationOf(row, row.rotation_failure_code)) as StatusReason | null),
    status_detail: justExpired
      ? TOKEN_REACHED_ITS_END
      : (row.status_detail ?? rotationOf(row, row.rotation_failure_detail)),
    refreshable: isRefreshable(row),
    auto_rotate: row.auto_rotate,
    token_version: row.token_version,
    expires_at: isoTimeOrNull(row.token_expires_at),
    last_verified_at: isoTimeOrNull(row.last_verified_at),
    created_at: isoTime(row.created_at),
    updated_at: isoTime(row.updated_at),
  }
}
