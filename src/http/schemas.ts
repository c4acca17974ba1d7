import { type Static, type TSchema, type TSchemaOptions, Type } from 'typebox'

export const Id = (description: string) =>
  Type.String({ format: 'uuid', description, examples: ['019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c'] })

/** @param description where a caller gets the id from. */
export const idParams = (description: string) => Type.Object({ id: Id(description) })

export const IdParams = idParams('The `id` that the answer of the creation and the list contain.')

export const Time = (description: string) =>
  Type.String({ format: 'date-time', description: `${description} (RFC 3339, UTC).` })
/** As a list of types, which is written without asking a validator for each value as the choices of a union are. */
const nullable = <Value>(type: 'string' | 'integer', options: TSchemaOptions) =>
  Type.Unsafe<Value | null>({ type: [type, 'null'], ...options })

export const NullableTime = (description: string) =>
  nullable<string>('string', { format: 'date-time', description: `${description} (RFC 3339, UTC).` })
export const NullableText = (description: string) => nullable<string>('string', { description })
export const NullableInteger = (description: string) => nullable<number>('integer', { description })

/** Why a connection is not active. */
export const STATUS_REASONS = [
  'token_unknown',
  'token_expired',
  'token_revoked',
  'user_blocked',
  'user_deactivated',
  'user_pending_approval',
  'user_terms_not_accepted',
  'user_unconfirmed',
  'user_password_expired',
  'user_internal',
  'user_refused',
  'sso_required',
  'ip_not_allowed',
  'fine_grained_required',
  'refresh_token_refused',
  'refresh_answer_lost',
  'rotation_answer_lost',
  'database_went_back',
  'rotation_refused',
  'missing_scopes',
] as const

export type StatusReason = (typeof STATUS_REASONS)[number]

/** One of some codes, or null. */
export const NullableCode = <Code extends string>(codes: readonly Code[], description: string) =>
  Type.Unsafe<Code | null>({ type: ['string', 'null'], enum: [...codes, null], description })

/** A tenant of the scanning platform. */
export const Organization = Type.String({
  pattern: '^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$',
  maxLength: 64,
  'x-form':
    'lower-case letters, digits, ".", "_" and "-", with a letter or digit at both ends, such as acme-inc',
  description: 'Slug of an organization: a tenant of your platform.',
  examples: ['acme'],
})

export const BaseUrl = Type.String({
  minLength: 1,
  maxLength: 500,
  description:
    'Address of a GitLab instance: its base URL, with the path when GitLab is installed under one, or any page out of the address bar. The registered instance with the longest base URL that the address begins with is taken.',
  examples: ['https://gitlab.com'],
})

/** Names and values by which a platform finds its connections again. */
export const Labels = Type.Record(
  Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$' }),
  Type.String({ maxLength: 256, pattern: '^[^\u0000-\u001f\u007f]*$' }),
  {
    maxProperties: 20,
    additionalProperties: false,
    description:
      'Labels of the connection: names of letters, digits, `.`, `_`, `/` and `-`, and values of your own. The service only keeps them and filters by them.',
    examples: [{ team: 'payments' }],
  },
)

export const Name = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: '\\S',
  'x-form': 'more than blanks',
})

/** Long enough for every token of GitLab (routable ones have up to 320 characters), short enough to refuse a file. */
export const LONGEST_PASTED = 4096

/** A token as somebody pastes it; src/pasted reads it. */
export const Token = (description: string, example: string) =>
  Type.String({
    minLength: 1,
    maxLength: LONGEST_PASTED,
    description: `${description} The service takes off what comes along when a token is copied: spaces, quotes, a header name, a variable name, a URL around it. Where that leaves the token open, errors[] names the reason.`,
    examples: [example],
  })

export const isoTime = (time: Date): string => time.toISOString()
export const isoTimeOrNull = (time: Date | null): string | null => time?.toISOString() ?? null

export const TokenKind = Type.Union(
  [
    Type.Literal('oauth_access_token'),
    Type.Literal('personal_access_token'),
    Type.Literal('group_access_token'),
    Type.Literal('project_access_token'),
  ],
  {
    description:
      'The kind of the token. A group or project token with neither read_user nor read_api looks like a personal one.',
  },
)

export const Status = Type.Union(
  [
    Type.Literal('active'),
    Type.Literal('needs_reauthorization'),
    Type.Literal('revoked'),
    Type.Literal('expired'),
  ],
  { description: 'Only an `active` connection hands out tokens.' },
)

/** A schema that openapi.yaml names; the room that has it registers it with `addSchema`. */
type Named = TSchema & { $id: string }

/** Refers to a named schema. */
export const refTo = <Schema extends TSchema>(schema: Schema) =>
  Type.Unsafe<Static<Schema>>({ $ref: `${(schema as unknown as Named).$id}#` })
