import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { hasRole, organizationsOf } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import { notFound } from '../errors/problem.ts'
import { problems } from '../http/problem-schema.ts'
import { idParams } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import {
  CREDENTIAL_PROBLEMS,
  Credential,
  CredentialRef,
  credentialQuery,
  toCredential,
} from './credential.ts'
import { type LeaseDeps, leaseToken } from './lease-token.ts'
import { releaseLease } from './queries.ts'
import { createRejectLease } from './reject-lease.ts'

const tags = ['Credentials']
const connectionParams = idParams('Id of the connection: `id` of `GET /v1/connections`.')
const leaseParams = idParams('Id of the lease: `lease_id` of the credential.')

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
          'Refreshes the token first when it expires too soon. The service records the lease before it answers.',
        params: connectionParams,
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
          'Says that the scan is done: from now on the service may refresh the token. The key that got the lease may release it, and a manager. Releasing it twice does no harm.',
        params: leaseParams,
        response: { 204: Type.Null({ description: 'The lease is released.' }), ...problems('not_found') },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request)
      const released = await releaseLease(db, {
        id: request.params.id,
        accessKeyId: hasRole(principal, 'manager') ? undefined : principal.id,
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
          'Asks GitLab once about the token. The answer is a newer token, or a problem with the reason that GitLab gives. `token_works`: GitLab accepts the token, so the refusal has another cause.',
        params: leaseParams,
        response: { 200: CredentialRef, ...problems(...CREDENTIAL_PROBLEMS, 'token_works') },
      },
    },
    async (request, reply) => {
      const leased = await rejectLease(request.params.id, principalOf(request))
      return reply.header('cache-control', 'no-store').send(toCredential(leased, new Date(clock())))
    },
  )
}
