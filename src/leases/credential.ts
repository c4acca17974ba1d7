import { type Static, Type } from 'typebox'
import { secondsUntil } from '../clock/clock.ts'
import { Id, isoTimeOrNull, NullableInteger, NullableTime, Organization, TokenKind } from '../http/schemas.ts'
import type { LeasedToken } from './lease-token.ts'

/** A day. GitLab's OAuth tokens live two hours by default, and no scan should need more. */
const LONGEST_MIN_TTL = 86_400
const GIT_USERNAME = 'oauth2'

export const Credential = Type.Object(
  {
    lease_id: Id(
      'Id of the lease: the promise that this version of the token stays usable. Release it when the scan is done.',
    ),
    connection_id: Id('Id of the connection.'),
    organization: Organization,
    base_url: Type.String({
      description: 'Base URL of the GitLab instance.',
      examples: ['https://gitlab.com'],
    }),
    token: Type.String({ description: 'The token itself.' }),
    token_kind: TokenKind,
    token_version: Type.Integer({ description: 'Counts up each time the stored token changes.' }),
    scopes: Type.Array(Type.String(), {
      description: 'Scopes of the token at GitLab.',
      examples: [['read_api', 'read_repository']],
    }),
    expires_at: NullableTime('When the token ends; null: never'),
    expires_in: NullableInteger('Seconds until the token ends. null: never.'),
    git: Type.Object(
      { username: Type.String(), password: Type.String() },
      { description: 'User name and password for Git over HTTPS.' },
    ),
    api: Type.Object(
      { header: Type.String(), value: Type.String() },
      { description: 'Name and value of the header for calls to the GitLab API.' },
    ),
  },
  { $id: 'Credential', description: 'A token that works, and its lease.' },
)

export const CredentialRef = Type.Unsafe<Static<typeof Credential>>({ $ref: 'Credential#' })

export const MinTtl = Type.Integer({
  minimum: 1,
  maximum: LONGEST_MIN_TTL,
  description: 'Seconds that the token has to live from now on.',
  examples: [3600],
})

/** What every lookup may ask for, in its query. */
export const credentialQuery = {
  min_ttl: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: LONGEST_MIN_TTL,
      description:
        'Seconds that the token has to live. When you leave it out, the service tries for 300 and gives less while others use the token.',
    }),
  ),
  on_conflict: Type.Optional(
    Type.Union([Type.Literal('respect'), Type.Literal('preempt')], {
      default: 'respect',
      description:
        'What happens when the token has to be refreshed and others hold leases. respect: the answer is 409 token_in_use. preempt: the service refreshes, and their token stops working.',
    }),
  ),
  purpose: Type.Optional(
    Type.String({
      maxLength: 200,
      description: 'Why you ask, such as the id of a scan. The lease records it.',
    }),
  ),
}

export const CREDENTIAL_PROBLEMS = [
  'not_found',
  'needs_reauthorization',
  'connection_expired',
  'connection_revoked',
  'token_in_use',
  'min_ttl_unattainable',
  'gitlab_unavailable',
  'oauth_app_rejected',
  'sealed_answer_required',
  'no_encryption_key',
] as const

export const toCredential = ({ row, token }: LeasedToken, now: Date): Static<typeof Credential> => ({
  lease_id: row.lease_id,
  connection_id: row.connection_id,
  organization: row.organization,
  base_url: row.base_url,
  token,
  token_kind: row.token_kind,
  token_version: row.token_version,
  scopes: row.scopes,
  expires_at: isoTimeOrNull(row.token_expires_at),
  expires_in: row.token_expires_at === null ? null : Math.max(0, secondsUntil(row.token_expires_at, now)),
  git: { username: GIT_USERNAME, password: token },
  api: { header: 'Authorization', value: `Bearer ${token}` },
})
