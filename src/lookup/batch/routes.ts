import type { FastifyError, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../../callers/authenticator.ts'
import { encryptFor } from '../../callers/encryption-key.ts'
import type { Database } from '../../db/database.ts'
import { Problem } from '../../errors/problem.ts'
import { faultsOfEntries } from '../../http/entries.ts'
import { problemDocument, toProblem } from '../../http/errors.ts'
import { problemSchema, problemsWithBody } from '../../http/problem-schema.ts'
import { Organization, refTo } from '../../http/schemas.ts'
import type { App } from '../../http/server.ts'
import { CREDENTIAL_PROBLEMS, CredentialRef, credentialQuery, toCredential } from '../../leases/credential.ts'
import { deliveryFor } from '../../leases/sealed-delivery.ts'
import type { FindByUrlDeps } from '../find-by-url.ts'
import { Url } from '../routes.ts'
import { readWait, waitMs } from './deadline.ts'
import { type BatchRequest, type BatchResult, leaseBatch } from './lease-batch.ts'
import { createTurns } from './turns.ts'

const JOSE = 'application/jose'
const MOST_REQUESTS = 1000
/** A kilobyte for each request. */
const BODY_LIMIT_BYTES = 1_048_576

const Wanted = Type.Object(
  {
    url: Type.Optional(Url),
    connection_id: Type.Optional(
      Type.String({ format: 'uuid', description: 'Instead of the URL: id of the connection.' }),
    ),
    organization: Type.Optional(Organization),
    min_ttl: credentialQuery.min_ttl,
    on_conflict: credentialQuery.on_conflict,
    purpose: credentialQuery.purpose,
  },
  {
    additionalProperties: false,
    description: 'A lookup by `url` or by `connection_id`: one of the two.',
  },
)

const Answer = Type.Object(
  {
    results: Type.Array(Type.Union([CredentialRef, refTo(problemSchema)]), {
      description:
        'In the order of the requests. A credential has `lease_id`, a problem has `code`, and `retry_after` in seconds where asking again makes sense.',
    }),
  },
  { $id: 'CredentialBatch', description: 'A credential or a problem for each request.' },
)

const batch = {
  operationId: 'getCredentials',
  tags: ['Credentials'],
  summary: 'Get many working tokens at once',
  description:
    'Up to 1,000 lookups, each answered by its credential or its problem: one that cannot be read is `invalid_request`, with the field, and the others are answered all the same. What can be served at once shares statements of the database; refreshes at GitLab go on side by side, a few at a time. `Prefer: wait=10` says how many seconds you wait (30 by default, 60 at most): what is not ready then is `deadline_passed`. When you hang up, what has not begun is not leased, and without an `Idempotency-Key` all leases of the batch are given back. With an `Idempotency-Key` you may send the same request again after a lost answer: the leases are the same while they last, and what had failed is tried again. Keys are kept for a day. With `Accept: application/jose` the answer is a compact JWE for the encryption_key of the caller.',
  headers: Type.Object({
    prefer: Type.Optional(Type.String({ maxLength: 200, description: 'RFC 7240.', examples: ['wait=10'] })),
    'idempotency-key': Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 255,
        description: 'Names this request among yours, such as the id of a scan run.',
        examples: ['nightly-2026-11-02'],
      }),
    ),
  }),
  body: Type.Object(
    {
      requests: Type.Array(Wanted, {
        minItems: 1,
        maxItems: MOST_REQUESTS,
      }),
    },
    {
      additionalProperties: false,
      examples: [
        {
          requests: [{ url: 'https://gitlab.com/acme/web-shop.git', organization: 'acme', min_ttl: 1800 }],
        },
      ],
    },
  ),
  response: {
    ...problemsWithBody(
      ...CREDENTIAL_PROBLEMS,
      'no_connection_for_url',
      'organization_required',
      'idempotency_key_reused',
      'batch_in_progress',
      'deadline_passed',
    ),
  },
  described: {
    200: {
      description: 'A credential or a problem for each request, in the same order.',
      content: {
        'application/json': { schema: { $ref: 'CredentialBatch#' } },
        [JOSE]: { schema: Type.String() },
      },
    },
  },
}

const toProblemOf = (request: FastifyRequest, error: unknown): Problem => {
  const problem = toProblem(error as FastifyError)
  if (problem) return problem
  request.log.error({ err: error, request_id: request.id }, 'unexpected error')
  return new Problem('internal_error', 'Something went wrong here; the log has it under the request_id.')
}

type Deps = FindByUrlDeps & { db: Database; authenticator: Authenticator }

export const registerBatchRoutes = (app: App, deps: Deps): void => {
  const { authenticator, clock } = deps
  const batchDeps = { ...deps, turns: createTurns(deps) }
  const onRequest = authenticator.requireRole('scanner')
  app.addSchema(Answer)

  const toItem = (request: FastifyRequest, result: BatchResult, now: Date): object => {
    if ('leased' in result) return toCredential(result.leased, now)
    const problem = toProblemOf(request, result.error)
    const { retryAfterSeconds } = problem.extras
    const retry =
      retryAfterSeconds === undefined ? {} : { retry_after: Math.max(1, Math.ceil(retryAfterSeconds)) }
    return { ...problemDocument(problem, request.id), ...retry }
  }

  app.post(
    '/v1/credentials/batch',
    { onRequest, schema: batch, bodyLimit: BODY_LIMIT_BYTES, attachValidation: true },
    async (request, reply) => {
      const faults = faultsOfEntries(request, 'requests')
      const principal = principalOf(request)
      const delivery = deliveryFor(request, principal)
      const wait = readWait(request.headers.prefer)
      const caller = new AbortController()
      reply.raw.once('close', () => caller.abort())
      if (reply.raw.destroyed) caller.abort()
      const results = await leaseBatch(batchDeps, principal, request.body.requests as BatchRequest[], {
        waitMs: waitMs(wait),
        caller: caller.signal,
        idempotencyKey: request.headers['idempotency-key'],
        delivery,
        faults,
      })
      if (caller.signal.aborted) return reply.hijack()
      const now = new Date(clock())
      const answer = JSON.stringify({ results: results.map((result) => toItem(request, result, now)) })
      if (wait !== undefined) reply.header('preference-applied', `wait=${wait}`)
      reply.header('cache-control', 'no-store').serializer(String)
      if (delivery === 'plain' || !principal.encryptionKey)
        return reply.type('application/json; charset=utf-8').send(answer)
      return reply.type(JOSE).send(await encryptFor(principal.encryptionKey, answer, { cty: 'json' }))
    },
  )
}
