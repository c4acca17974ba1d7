import type { Static } from 'typebox'
import { Type } from 'typebox'
import type { ConnectionRow, ConnectionStatus } from '../db/tables.ts'
import { Id, isoTime, isoTimeOrNull, NullableText, NullableTime, Time } from '../http/schemas.ts'
import type { ConnectionWithInstance } from './queries.ts'

export const TokenKind = Type.Union(
  [
    Type.Literal('oauth_access_token'),
    Type.Literal('personal_access_token'),
    Type.Literal('group_access_token'),
    Type.Literal('project_access_token'),
  ],
  { description: 'A group or project token with neither read_user nor read_api looks like a personal one.' },
)

export const Status = Type.Union(
  [
    Type.Literal('active'),
    Type.Literal('needs_reauthorization'),
    Type.Literal('revoked'),
    Type.Literal('expired'),
  ],
  { description: 'Only `active` ones hand out tokens.' },
)

export const User = Type.Object({
  id: Type.Integer({ description: 'At GitLab.' }),
  username: NullableText('null when the scopes do not allow to ask.'),
  name: NullableText('null when the scopes do not allow to ask.'),
})

/** A connection without its secrets. */
export const Connection = Type.Object(
  {
    id: Id('Of the connection.'),
    organization: Type.String(),
    name: NullableText('What people call it.'),
    base_url: Type.String(),
    method: Type.Union([Type.Literal('oauth'), Type.Literal('token')]),
    token_kind: TokenKind,
    user: User,
    group: NullableText(
      'Full path of the group or project that it is limited to; null = everything that the token reaches.',
    ),
    oauth_app: NullableText('Slug of the OAuth app through which it is refreshed.'),
    scopes: Type.Array(Type.String()),
    status: Status,
    status_reason: NullableText('A code; null while active.'),
    status_detail: NullableText('The first cause, for people.'),
    refreshable: Type.Boolean({ description: 'Whether the service can renew the token by itself.' }),
    auto_rotate: Type.Boolean(),
    token_version: Type.Integer({ description: 'Counts up each time the stored token changes.' }),
    expires_at: NullableTime('When the current token ends; null = never'),
    last_verified_at: NullableTime('When GitLab last confirmed the token'),
    created_at: Time('When it was made'),
    updated_at: Time('When it was last changed'),
  },
  { $id: 'Connection' },
)

export const isRefreshable = ({
  refresh_token,
  oauth_app_id,
}: Pick<ConnectionRow, 'refresh_token' | 'oauth_app_id'>): boolean =>
  refresh_token !== null && oauth_app_id !== null

/** Past its end, a token that cannot be refreshed is expired, whatever the row still says. */
export const statusAt = (row: ConnectionRow, now: Date): ConnectionStatus =>
  row.status === 'active' &&
  !isRefreshable(row) &&
  row.token_expires_at !== null &&
  row.token_expires_at <= now
    ? 'expired'
    : row.status

export const toConnection = (row: ConnectionWithInstance, now: Date): Static<typeof Connection> => {
  const status = statusAt(row, now)
  const justExpired = status === 'expired' && row.status === 'active'
  return {
    id: row.id,
    organization: row.organization,
    name: row.name,
    base_url: row.base_url,
    method: row.method,
    token_kind: row.token_kind,
    user: { id: Number(row.gitlab_user_id), username: row.gitlab_username, name: row.gitlab_name },
    group: row.group_path || null,
    oauth_app: row.oauth_app_slug,
    scopes: row.scopes,
    status,
    status_reason: justExpired ? 'token_expired' : row.status_reason,
    status_detail: justExpired
      ? 'The token has reached its end. Replace it by a new one.'
      : row.status_detail,
    refreshable: isRefreshable(row),
    auto_rotate: row.auto_rotate,
    token_version: row.token_version,
    expires_at: isoTimeOrNull(row.token_expires_at),
    last_verified_at: isoTimeOrNull(row.last_verified_at),
    created_at: isoTime(row.created_at),
    updated_at: isoTime(row.updated_at),
  }
}
