import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { hasRole, organizationsOf, originOf, type Principal } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import { invalidField, notFound } from '../errors/problem.ts'
import { parseResourceUrl } from '../gitlab/repository-url.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { Id, idParams, refTo } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { CREDENTIAL_PROBLEMS, Credential, CredentialRef, credentialQuery, MinTtl } from './credential.ts'
import { extendLease } from './extend-lease.ts'
import { holderOf } from './lease.ts'
import { type LeaseDeps, leaseToken } from './lease-token.ts'
import { releaseLeases } from './queries.ts'
import type { Rejections } from './reject-lease.ts'
import {
  type CredentialSender,
  deliveryFor,
  describeAnswers,
  WrappedCredential,
  wrapQuery,
} from './sealed-delivery.ts'
import { openLease } from './wrapped/open-lease.ts'

const tags = ['Credentials']
const connectionParams = idParams('Id of the connection: `id` of `GET /v1/connections`.')
const leaseParams = idParams('Id of the lease: `lease_id` of the credential.')

const get = {
  operationId: 'getCredential',
  tags,
  summary: 'Get a working token of a connection',
  description:
    'Refreshes the token first when it expires too soon. The service records the lease before it answers. A key that is limited to URL prefixes cannot use this.',
  params: connectionParams,
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
  params: leaseParams,
  body: Type.Object(
    { handle: Type.String({ minLength: 1, maxLength: 200, examples: ['the-handle'] }) },
    { additionalProperties: false, examples: [{ handle: 'the-handle' }] },
  ),
  response: {
    200: CredentialRef,
    ...problemsWithBody(...CREDENTIAL_PROBLEMS, 'already_opened', 'handle_expired'),
  },
  described: describeAnswers(),
}

const ReleasedLeases = Type.Object(
  {
    released: Type.Array(Id('Of a lease.'), { description: 'These leases are released.' }),
    not_found: Type.Array(Id('As you sent it.'), {
      description: 'These leases do not exist for your key.',
    }),
  },
  { $id: 'ReleasedLeases', description: 'What became of each lease.' },
)

const release = {
  operationId: 'releaseLease',
  tags,
  summary: 'Release a lease',
  description:
    'Says that the scan is done: from now on the service may refresh the token. The key that got the lease may release it, and a manager. Releasing it twice does no harm.',
  params: leaseParams,
  response: { 204: Type.Null({ description: 'The lease is released.' }), ...problems('not_found') },
}

/** Beyond this a scheduler sends another request. */
const MOST_LEASES = 1000

const releaseMany = {
  operationId: 'releaseLeases',
  tags,
  summary: 'Release many leases',
  description:
    'Says that these scans are done, with one request. The answer names the ids that exist for your key, and those that do not. Releasing a lease twice does no harm.',
  body: Type.Object(
    {
      ids: Type.Array(Id('`lease_id` of a credential.'), {
        minItems: 1,
        maxItems: MOST_LEASES,
        description: 'Up to 1,000 ids.',
      }),
    },
    { additionalProperties: false, examples: [{ ids: ['019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c'] }] },
  ),
  response: { 200: refTo(ReleasedLeases), ...problemsWithBody() },
}

const extend = {
  operationId: 'extendLease',
  tags,
  summary: 'Keep a token for longer',
  description:
    'For a scan that takes longer than it expected. The answer has the same `lease_id` and `token_version` while the token lives `min_ttl` seconds more. Otherwise the service refreshes the token, and the answer has the next version under a new lease; from then on the old token does not work. The service never refreshes a token on which others hold leases: the answer is 409 `token_in_use`, and your lease stays. Only the key that got the lease may extend it.',
  params: leaseParams,
  body: Type.Object({ min_ttl: MinTtl }, { additionalProperties: false, examples: [{ min_ttl: 1800 }] }),
  response: { 200: CredentialRef, ...problemsWithBody(...CREDENTIAL_PROBLEMS, 'lease_ended') },
  described: describeAnswers(),
}

const reject = {
  operationId: 'rejectLease',
  tags,
  summary: 'Report that GitLab refused the token',
  description:
    'Asks GitLab once about the token. The answer is a newer token, or a problem with the reason that GitLab gives. `token_works`: GitLab accepts the token, so the refusal has another cause. With `url` the service then asks GitLab whether the connection reaches that repository, and remembers the answer: the next lookup of the URL gets another connection, where there is one that does.',
  params: leaseParams,
  querystring: Type.Object(
    {
      url: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 2048,
          description: 'URL of the repository at which GitLab refused the token.',
          examples: ['https://gitlab.com/acme/web-shop.git'],
        }),
      ),
    },
    { additionalProperties: false },
  ),
  response: { 200: CredentialRef, ...problems(...CREDENTIAL_PROBLEMS, 'token_works') },
  described: describeAnswers(),
}

type Deps = LeaseDeps & {
  db: Database
  authenticator: Authenticator
  rejections: Rejections
  sendCredential: CredentialSender
}

export const registerLeaseRoutes = (app: App, deps: Deps): void => {
  const { db, clock, authenticator, rejections, sendCredential } = deps
  const onRequest = authenticator.requireRole('scanner')
  for (const schema of [Credential, WrappedCredential, ReleasedLeases]) app.addSchema(schema)

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
      origin: originOf(request),
    }
    return sendCredential(reply, principal, await openLease(deps, opening, principal), delivery)
  })

  const releaseFor = (ids: string[], principal: Principal): Promise<string[]> =>
    releaseLeases(db, {
      ids,
      holder: hasRole(principal, 'manager') ? undefined : holderOf(principal),
      organizations: organizationsOf(principal),
      now: new Date(clock()),
    })

  app.delete('/v1/leases/:id', { onRequest, schema: release }, async (request, reply) => {
    const released = await releaseFor([request.params.id], principalOf(request))
    if (released.length === 0) throw notFound('lease')
    return reply.code(204).send(null)
  })

  app.delete('/v1/leases', { onRequest, schema: releaseMany }, async (request) => {
    const ids = [...new Set(request.body.ids)]
    const released = new Set(await releaseFor(ids, principalOf(request)))
    return {
      released: ids.filter((id) => released.has(id)),
      not_found: ids.filter((id) => !released.has(id)),
    }
  })

  app.post('/v1/leases/:id/extend', { onRequest, schema: extend }, async (request, reply) => {
    const principal = principalOf(request)
    const delivery = deliveryFor(request, principal)
    const extension = { leaseId: request.params.id, minTtl: request.body.min_ttl, delivery }
    return sendCredential(reply, principal, await extendLease(deps, extension, principal), delivery)
  })

  app.post('/v1/leases/:id/rejection', { onRequest, schema: reject }, async (request, reply) => {
    const principal = principalOf(request)
    const delivery = deliveryFor(request, principal)
    const { url } = request.query
    if (url !== undefined && !parseResourceUrl(url))
      throw invalidField('url', 'is not the URL of a repository')
    const leased = await rejections.reject(request.params.id, principal, { url, delivery })
    return sendCredential(reply, principal, leased, delivery)
  })
}
