import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { hasRole, organizationsOf } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import { notFound } from '../errors/problem.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { IdParams } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { CREDENTIAL_PROBLEMS, Credential, CredentialRef, credentialQuery } from './credential.ts'
import { holderOf } from './lease.ts'
import { type LeaseDeps, leaseToken } from './lease-token.ts'
import { releaseLease } from './queries.ts'
import { createRejectLease } from './reject-lease.ts'
import {
  type CredentialSender,
  deliveryFor,
  describeAnswers,
  WrappedCredential,
  wrapQuery,
} from './sealed-delivery.ts'
import { openLease } from './wrapped/open-lease.ts'

const tags = ['Credentials']

const get = {
  operationId: 'getCredential',
  tags,
  summary: 'Get a working token of a connection',
  description:
    'Refreshes the token first when it expires too soon. The lease is in the database before the token leaves. Not for keys that are limited to URL prefixes.',
  params: IdParams,
  querystring: Type.Object({ ...credentialQuery, ...wrapQuery }, { additionalProperties: false }),
  response: { 200: CredentialRef, ...problems(...CREDENTIAL_PROBLEMS) },
  described: describeAnswers({ wraps: true }),
}

const open = {
  operationId: 'openLease',
  tags,
  summary: 'Open a wrapped lease',
  description:
    'Gives the token that `wrap=true` held back: once, within a minute, to any key for which the connection exists. A second opening is refused and recorded, since it shows that somebody else has read the handle.',
  params: IdParams,
  body: Type.Object(
    { handle: Type.String({ minLength: 1, maxLength: 200, examples: ['the-handle'] }) },
    { additionalProperties: false },
  ),
  response: {
    200: CredentialRef,
    ...problemsWithBody(...CREDENTIAL_PROBLEMS, 'already_opened', 'handle_expired'),
  },
  described: describeAnswers(),
}

const release = {
  operationId: 'releaseLease',
  tags,
  summary: 'Release a lease',
  description:
    'Done with the token: from now on it may be refreshed. By the key that got it, or a manager. Releasing twice is fine.',
  params: IdParams,
  response: { 204: Type.Null({ description: 'Released.' }), ...problems('not_found') },
}

const reject = {
  operationId: 'rejectLease',
  tags,
  summary: 'Report that GitLab refused the token',
  description:
    'Answers with a newer token when there is one or one can be had. Otherwise a problem with the verified reason; `token_works` when GitLab accepts the token, so that the refusal has another cause.',
  params: IdParams,
  response: { 200: CredentialRef, ...problems(...CREDENTIAL_PROBLEMS, 'token_works') },
  described: describeAnswers(),
}

type Deps = LeaseDeps & { db: Database; authenticator: Authenticator; sendCredential: CredentialSender }

export const registerLeaseRoutes = (app: App, deps: Deps): void => {
  const { db, clock, authenticator, sendCredential } = deps
  const onRequest = authenticator.requireRole('scanner')
  const rejectLease = createRejectLease(deps)
  for (const schema of [Credential, WrappedCredential]) app.addSchema(schema)

  app.get(
    '/v1/connections/:id/credential',
    { onRequest: authenticator.requireRoleFromMemory('scanner'), schema: get },
    async (request, reply) => {
      const { min_ttl, on_conflict = 'respect', purpose, wrap } = request.query
      const delivery = deliveryFor(request, principalOf(request), { wrap })
      const options = { minTtl: min_ttl, onConflict: on_conflict, purpose, delivery }
      const leased = await authenticator.identifyAgainIfNotFound(request, 'scanner', (principal) =>
        leaseToken(deps, request.params.id, principal, options),
      )
      return sendCredential(reply, principalOf(request), leased, delivery)
    },
  )

  app.post('/v1/leases/:id/open', { onRequest, schema: open }, async (request, reply) => {
    const principal = principalOf(request)
    const delivery = deliveryFor(request, principal)
    const opening = {
      leaseId: request.params.id,
      handle: request.body.handle,
      delivery,
      requestId: request.id,
    }
    return sendCredential(reply, principal, await openLease(deps, opening, principal), delivery)
  })

  app.delete('/v1/leases/:id', { onRequest, schema: release }, async (request, reply) => {
    const principal = principalOf(request)
    const released = await releaseLease(db, {
      id: request.params.id,
      holder: hasRole(principal, 'manager') ? undefined : holderOf(principal),
      organizations: organizationsOf(principal),
      now: new Date(clock()),
    })
    if (!released) throw notFound('lease')
    return reply.code(204).send(null)
  })

  app.post('/v1/leases/:id/rejection', { onRequest, schema: reject }, async (request, reply) => {
    const principal = principalOf(request)
    const delivery = deliveryFor(request, principal)
    const leased = await rejectLease(request.params.id, principal, delivery)
    return sendCredential(reply, principal, leased, delivery)
  })
}
