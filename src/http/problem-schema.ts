import { type TSchema, Type } from 'typebox'
import { CATALOGUE, type ProblemCode, statusOf, titleOf } from '../errors/catalogue.ts'
import { PROXY_FAULTS } from '../errors/proxy-faults.ts'
import { TLS_FAULTS } from '../errors/tls-faults.ts'
import { PASTED_FAULT_NAMES } from '../pasted/faults.ts'
import {
  Id,
  isoTime,
  NullableCode,
  NullableText,
  NullableTime,
  Organization,
  STATUS_REASONS,
  Status,
  Time,
} from './schemas.ts'

export const PROBLEM_MEDIA_TYPE = 'application/problem+json'
const EXAMPLE_ID = '019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c'
const EXAMPLE_TIME = isoTime(new Date(Date.UTC(2026, 0, 31, 12, 30)))
const CODES = Object.keys(CATALOGUE) as ProblemCode[]

export const NullableProblemCode = (description: string) => NullableCode(CODES, description)

const FieldFault = Type.Object({
  field: Type.String({
    description: 'Path of the field. It ends where the path would repeat what you sent.',
  }),
  message: Type.String({ description: 'For people.' }),
  reason: Type.Optional(
    Type.String({
      enum: PASTED_FAULT_NAMES,
      description: 'Of a token or secret: what is wrong with the text, for programs.',
    }),
  ),
})

const CoveringConnection = Type.Object({
  connection_id: Id('Id of the connection.'),
  organization: Organization,
  group: NullableText('Group or project to which the connection is limited.'),
  status: Status,
})

/** RFC 9457, with our stable `code` as what programs branch on, and the members that only some codes have. */
export const problemSchema = Type.Object(
  {
    type: Type.String({ description: 'Always about:blank: the code says what the problem is.' }),
    title: Type.String({ description: 'The code as a sentence.' }),
    status: Type.Integer({ description: 'The status of the answer.' }),
    detail: Type.String({ description: 'For people. The text may change.' }),
    code: Type.String({ enum: CODES, description: 'Stable: programs branch on the code.' }),
    request_id: Type.String({ description: 'The log of the service has this id, too.' }),
    errors: Type.Optional(
      Type.Array(FieldFault, { description: '`invalid_request`: which field is wrong, and how.' }),
    ),
    leased_until: Type.Optional(Time('`token_in_use`: when the last lease on the token ends')),
    looks_like: Type.Optional(
      Type.String({
        description:
          '`wrong_token_kind`: what a token that GitLab does not know looks like by its prefix, such as `deploy_token`.',
      }),
    ),
    missing_scopes: Type.Optional(
      Type.Array(Type.String(), { description: '`missing_scopes`: which scopes the token lacks.' }),
    ),
    candidates: Type.Optional(
      Type.Array(CoveringConnection, {
        description: '`no_connection_for_url`: the connections that cover the URL and cannot be used.',
      }),
    ),
    did_you_mean: Type.Optional(
      Type.String({
        description:
          'Base URL of the registered instance that may be meant, where `base_url` led to none. Of the codes that are about an address.',
      }),
    ),
    hint: Type.Optional(
      Type.Object(
        {
          reason: Type.Union([
            Type.Literal('other_scheme'),
            Type.Literal('other_port'),
            Type.Literal('container_registry'),
          ]),
          base_url: Type.String({ description: 'Where the connection is that would cover the URL.' }),
        },
        {
          description:
            '`no_connection_for_url`: a connection covers the path on the same host, with another scheme or port; or the host is the container registry of its instance.',
        },
      ),
    ),
    connection_id: Type.Optional(
      Id(
        'Of `needs_reauthorization`, `connection_expired`, `connection_revoked`, `min_ttl_unattainable` and `token_works`: id of the connection.',
      ),
    ),
    status_reason: Type.Optional(
      NullableCode(
        STATUS_REASONS,
        '`needs_reauthorization`, `connection_expired`, `connection_revoked`: why the connection is not active.',
      ),
    ),
    proxy_fault: Type.Optional(
      Type.String({
        enum: [...PROXY_FAULTS],
        description: '`gitlab_unavailable`: a proxy on the way let nothing through, and why.',
      }),
    ),
    tls_fault: Type.Optional(
      Type.String({
        enum: [...TLS_FAULTS],
        description: '`tls_not_trusted`: what is wrong with the certificate or with TLS.',
      }),
    ),
    expires_at: Type.Optional(NullableTime('`min_ttl_unattainable`: when the token ends; null: never')),
    scopes: Type.Optional(Type.Array(Type.String(), { description: '`token_works`: scopes of the token.' })),
    retry_after: Type.Optional(
      Type.Integer({
        description: 'Seconds after which to ask again: of a result of a batch, in place of the header.',
      }),
    ),
  },
  {
    $id: 'Problem',
    additionalProperties: true,
    description: 'Why a request was refused (RFC 9457). Some codes have further members.',
  },
)

const ENDED = { connection_id: EXAMPLE_ID, status_reason: 'token_revoked' }
const CANDIDATES = [
  { connection_id: EXAMPLE_ID, organization: 'acme', group: 'acme/platform', status: 'active' },
]

/** The further members of a problem, as an example. */
const MEMBERS: Partial<Record<ProblemCode, object>> = {
  invalid_request: { errors: [{ field: 'limit', message: 'must be <= 100' }] },
  token_in_use: { leased_until: EXAMPLE_TIME },
  missing_scopes: { missing_scopes: ['read_repository'] },
  no_connection_for_url: { candidates: CANDIDATES },
  needs_reauthorization: ENDED,
  connection_expired: { ...ENDED, status_reason: 'token_expired' },
  connection_revoked: ENDED,
  min_ttl_unattainable: { connection_id: EXAMPLE_ID, expires_at: EXAMPLE_TIME },
  tls_not_trusted: { tls_fault: 'intermediate_missing' },
  token_works: { connection_id: EXAMPLE_ID, scopes: ['read_api', 'read_repository'] },
}

/** Every operation can answer these. */
const EVERYWHERE: ProblemCode[] = [
  'invalid_request',
  'unknown_host',
  'rate_limited',
  'internal_error',
  'database_unavailable',
  'overloaded',
]
const WITH_ACCESS_KEY: ProblemCode[] = ['unauthorized', 'forbidden', 'issuer_unavailable']
const WITH_BODY: ProblemCode[] = ['payload_too_large', 'unsupported_media_type']
/** These answers say when asking again makes sense. */
const WITH_RETRY_AFTER: ReadonlySet<ProblemCode> = new Set<ProblemCode>([
  'token_in_use',
  'gitlab_unavailable',
  'oauth_app_rejected',
  'database_unavailable',
  'batch_in_progress',
  'deadline_passed',
])

const RETRY_AFTER = Type.Integer({ minimum: 1, description: 'Seconds after which to ask again.' })
const WWW_AUTHENTICATE = Type.String({ description: 'The scheme: Bearer.' })

export type ProblemResponse = {
  description: string
  headers?: Record<string, TSchema>
  content: Record<string, { schema: object; examples?: object }>
}

const headersOf = (codes: ProblemCode[]): Pick<ProblemResponse, 'headers'> => {
  if (codes.includes('unauthorized')) return { headers: { 'WWW-Authenticate': WWW_AUTHENTICATE } }
  return codes.some((code) => WITH_RETRY_AFTER.has(code)) ? { headers: { 'Retry-After': RETRY_AFTER } } : {}
}

const toResponses = (codes: ProblemCode[]): Record<number, ProblemResponse> => {
  const byStatus = Map.groupBy(new Set(codes), statusOf)
  return Object.fromEntries(
    [...byStatus].map(([status, group]) => [
      status,
      {
        description: group.map((code) => `\`${code}\`: ${titleOf(code)}.`).join(' '),
        ...headersOf(group),
        content: {
          [PROBLEM_MEDIA_TYPE]: {
            // Not the schema of a problem: a serializer for each answer of each route would take half of the start.
            // What is sent is text already; api-docs.ts names the schema in the description.
            schema: {},
            examples: Object.fromEntries(group.map((code) => [code, { value: example(code) }])),
          },
        },
      },
    ]),
  )
}

const example = (code: ProblemCode) => ({
  type: 'about:blank',
  title: titleOf(code),
  status: statusOf(code),
  detail: `${titleOf(code)}.`,
  code,
  request_id: EXAMPLE_ID,
  ...MEMBERS[code],
})

/** What any operation but GET can answer: a body may come where none is asked for. */
export const bodyProblems = toResponses(WITH_BODY)
/** The problem answers of an operation behind an access key. */
export const problems = (...codes: ProblemCode[]) =>
  toResponses([...EVERYWHERE, ...WITH_ACCESS_KEY, ...codes])
/** The same for an operation with a body. */
export const problemsWithBody = (...codes: ProblemCode[]) => problems(...WITH_BODY, ...codes)
/** The problem answers of an operation that anybody may call. */
export const publicProblems = (...codes: ProblemCode[]) => toResponses([...EVERYWHERE, ...codes])
