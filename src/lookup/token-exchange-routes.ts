import formbody from '@fastify/formbody'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { refusedRequest } from '../audit/note-refusals.ts'
import type { Refusals } from '../audit/refusals.ts'
import { principalOf } from '../callers/authenticator.ts'
import type { Principal } from '../callers/principal.ts'
import { Problem } from '../errors/problem.ts'
import { toProblem } from '../http/errors.ts'
import { publicProblems } from '../http/problem-schema.ts'
import { Id, Organization, refTo } from '../http/schemas.ts'
import { type App, CALLER } from '../http/server.ts'
import { Url } from './routes.ts'
import {
  ACCESS_TOKEN,
  type ExchangeDeps,
  exchangeToken,
  identifyWorkload,
  OAuthError,
  requireGrantType,
  SUBJECT_TOKEN_TYPES,
  TOKEN_EXCHANGE,
  toOAuthError,
} from './token-exchange.ts'

const tags = ['Credentials']
const FORM = 'application/x-www-form-urlencoded'
const ANSWERED_STATUSES = [400, 401, 413, 415, 429, 500, 503]

/** All parameters are text. Parameters that are not known are ignored (RFC 6749, section 3.2). */
const Form = Type.Object(
  {
    grant_type: Type.String({ examples: [TOKEN_EXCHANGE] }),
    subject_token: Type.String({
      minLength: 1,
      maxLength: 12_000,
      description: 'The JWT of a trusted issuer.',
      examples: ['eyJ…'],
    }),
    subject_token_type: Type.String({ examples: SUBJECT_TOKEN_TYPES }),
    resource: Url,
    requested_token_type: Type.Optional(Type.String({ examples: [ACCESS_TOKEN] })),
    actor_token: Type.Optional(Type.String({ description: 'Not supported.' })),
    organization: Type.Optional(Organization),
    min_ttl: Type.Optional(
      Type.String({
        pattern: '^[1-9][0-9]{0,4}$',
        description: 'Seconds that the token must live at least.',
      }),
    ),
    purpose: Type.Optional(
      Type.String({ maxLength: 200, description: 'For the record, such as a scan id.' }),
    ),
  },
  {
    examples: [
      {
        grant_type: TOKEN_EXCHANGE,
        subject_token: 'eyJ…',
        subject_token_type: SUBJECT_TOKEN_TYPES[1],
        resource: 'https://gitlab.com/acme/web-shop.git',
      },
    ],
  },
)

const Issued = Type.Object(
  {
    access_token: Type.String({ description: 'The GitLab token.' }),
    issued_token_type: Type.Literal(ACCESS_TOKEN),
    token_type: Type.Literal('Bearer'),
    expires_in: Type.Optional(Type.Integer({ description: 'Seconds; left out when the token never ends.' })),
    scope: Type.String(),
    lease_id: Id('Of the lease. Release it when done, with the JWT as the bearer.'),
  },
  { $id: 'TokenExchange', description: 'RFC 8693, section 2.2.1.' },
)

const Refused = Type.Object(
  {
    error: Type.String({ description: 'RFC 6749, section 5.2, and RFC 8707.' }),
    error_description: Type.String({ description: 'For people.' }),
    code: Type.Optional(
      Type.String({ description: 'The code of the problem, as other operations answer it.' }),
    ),
    request_id: Type.String({ description: 'Find it in the log of the service.' }),
  },
  { $id: 'OAuthError', description: 'The error, as OAuth has it.' },
)

const exchange = {
  operationId: 'exchangeToken',
  tags,
  security: [],
  summary: 'Exchange the token of a workload for a GitLab token',
  description:
    'OAuth 2.0 token exchange (RFC 8693) with a resource (RFC 8707): the standard form of a lookup by URL, for programs that know OAuth and not this API. The subject token is the JWT of a trusted issuer, and takes the place of an access key. Errors are those of OAuth.',
  consumes: [FORM],
  body: Form,
  response: {
    200: refTo(Issued),
    ...Object.fromEntries(ANSWERED_STATUSES.map((status) => [status, refTo(Refused)])),
  },
}

const Metadata = Type.Object(
  {
    issuer: Type.String(),
    token_endpoint: Type.String(),
    grant_types_supported: Type.Array(Type.String()),
    response_types_supported: Type.Array(Type.String()),
    token_endpoint_auth_methods_supported: Type.Array(Type.String()),
    service_documentation: Type.String(),
  },
  { $id: 'AuthorizationServerMetadata', description: 'RFC 8414, section 2.' },
)

const metadata = {
  operationId: 'getAuthorizationServerMetadata',
  tags,
  security: [],
  summary: 'Where tokens are exchanged',
  description: 'OAuth 2.0 authorization server metadata (RFC 8414).',
  response: {
    200: refTo(Metadata),
    ...publicProblems(),
  },
}

/** RFC 6749, section 5.2. */
const answerOAuthError = (error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
  const answer = (status: number, code: string, description: string, problem?: Problem) =>
    reply
      .code(status)
      .header('cache-control', 'no-store')
      .send({
        error: code,
        error_description: description,
        ...(problem ? { code: problem.code } : {}),
        request_id: request.id,
      })
  if (error instanceof OAuthError) return answer(400, error.error, error.message)
  if (error instanceof Problem && request.body == null) {
    reply.header('www-authenticate', 'Bearer realm="gitlab-token-broker"')
    return answer(401, 'invalid_client', error.message, error)
  }
  const problem = toProblem(error as FastifyError)
  if (!problem) {
    request.log.error({ err: error, request_id: request.id }, 'unexpected error')
    return answer(500, 'server_error', 'Something went wrong here; the log has it under the request_id.')
  }
  const { error: code, status } = toOAuthError(problem)
  const { retryAfterSeconds } = problem.extras
  if (retryAfterSeconds !== undefined) reply.header('retry-after', Math.max(1, Math.ceil(retryAfterSeconds)))
  const isForm = problem.code !== 'unsupported_media_type'
  return answer(status, code, isForm ? problem.message : `Send ${FORM}.`, problem)
}

/** A request without a body does not say who asks: RFC 6749 calls that invalid_client. */
const requireForm = async ({ body }: FastifyRequest): Promise<void> => {
  if (body == null) throw new Problem('unauthorized', `Send ${FORM} with the JWT as subject_token.`)
  requireGrantType(body)
}

type RouteDeps = ExchangeDeps & { refusals: Refusals }

/** In a scope of its own: forms, and errors as OAuth has them, are for this one operation. */
export const registerTokenExchange = async (scope: App, deps: RouteDeps): Promise<void> => {
  if (!scope.hasContentTypeParser(FORM)) await scope.register(formbody)
  scope.removeContentTypeParser(['application/json', 'text/plain'])
  for (const schema of [Issued, Refused]) scope.addSchema(schema)
  scope.setErrorHandler((error, request: FastifyRequest, reply) => {
    deps.refusals.noteError(error, refusedRequest(request))
    return answerOAuthError(error, request, reply)
  })
  scope.post(
    '/v1/token',
    {
      schema: exchange,
      preValidation: requireForm,
      // Before the handler, so that the limit of the rule counts.
      preHandler: async (request) => {
        request.setDecorator<Principal>(CALLER, await identifyWorkload(deps, request.body))
      },
    },
    async (request, reply) => {
      const answer = await exchangeToken(deps, principalOf(request), request.body)
      return reply.header('cache-control', 'no-store').header('pragma', 'no-cache').send(answer)
    },
  )
}

export const registerOAuthMetadata = (app: App, { publicUrl }: { publicUrl: string }): void => {
  app.addSchema(Metadata)
  const document = {
    issuer: publicUrl,
    token_endpoint: `${publicUrl}/v1/token`,
    grant_types_supported: [TOKEN_EXCHANGE],
    // Required, and empty: there is no authorization endpoint.
    response_types_supported: [],
    token_endpoint_auth_methods_supported: ['none'],
    service_documentation: `${publicUrl}/docs`,
  }
  app.get('/.well-known/oauth-authorization-server', { schema: metadata }, async () => document)
}
