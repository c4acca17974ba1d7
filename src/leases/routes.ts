import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { hasRole, organizationsOf } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import { notFound } from '../errors/problem.ts'
import { problems } from '../http/problem-schema.ts'
import { IdParams } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import {
  CREDENTIAL_PROBLEMS,
  Credential,
  CredentialRef,
  credentialQuery,
  toCredential,
} from './credential.ts'
import { holderOf } from './lease.ts'
import { type LeaseDeps, leaseToken } from './lease-token.ts'
import { releaseLease } from './queries.ts'
import { createRejectLease } from './reject-lease.ts'

const tags = ['Credentials']

type Deps = LeaseDeps & { db: Database; authenticator: Authenticator }

export const registerLeaseRoutes = (app: App, deps: Deps): void => {
  const { db, clock, authenticator } = deps
  const rejectLease = createRejectLease(deps)
  app.addSchema(Credential)

  app.get(
    '/v1/connections/:id/credential',
    {
      onRequest: authenticator.requireRoleFromMemory('scanner'),
      schema: {
        operationId: 'getCredential',
        tags,
        summary: 'Get a working token of a connection',
        description:
          'Refreshes the token first when it expires too soon. The lease is in the database before the token leaves.',
        params: IdParams,
        querystring: Type.Object(credentialQuery, { additionalProperties: false }),
        response: { 200: CredentialRef, ...problems(...CREDENTIAL_PROBLEMS) },
      },
    },
    async (request, reply) => {
      const { min_ttl, on_conflict = 'respect', purpose } = request.query
      const options = { minTtl: min_ttl, onConflict: on_conflict, purpose }
      const leased = await authenticator.identifyAgainIfNotFound(request, 'scanner', (principal) =>
        leaseToken(deps, request.params.id, principal, options),
      )
      return reply.header('cache-control', 'no-store').send(toCredential(leased, new Date(clock())))
    },
  )

  app.delete(
    '/v1/leases/:id',
    {
      onRequest: authenticator.requireRole('scanner'),
      schema: {
        operationId: 'releaseLease',
        tags,
        summary: 'Release a lease',
        description:
          'Done with the token: from now on it may be refreshed. By the key that got it, or a manager. Releasing twice is fine.',
        params: IdParams,
        response: { 204: Type.Null({ description: 'Released.' }), ...problems('not_found') },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request)
      const released = await releaseLease(db, {
        id: request.params.id,
        holder: hasRole(principal, 'manager') ? undefined : holderOf(principal),
        organizations: organizationsOf(principal),
        now: new Date(clock()),
      })
      if (!released) throw notFound('lease')
      return reply.code(204).send(null)
    },
  )

  app.post(
    '/v1/leases/:id/rejection',
    {
      onRequest: authenticator.requireRole('scanner'),
      schema: {
        operationId: 'rejectLease',
        tags,
        summary: 'Report that GitLab refused the token',
        description:
          'Answers with a newer token when there is one or one can be had. Otherwise a problem with the verified reason; `token_works` when GitLab accepts the token, so that the refusal has another cause.',
        params: IdParams,
        response: { 200: CredentialRef, ...problems(...CREDENTIAL_PROBLEMS, 'token_works') },
      },
    },
    async (request, reply) => {
      const leased = await rejectLease(request.params.id, principalOf(request))
      return reply.header('cache-control', 'no-store').send(toCredential(leased, new Date(clock())))
    },
  )
}
