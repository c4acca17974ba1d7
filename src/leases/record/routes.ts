import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../../callers/authenticator.ts'
import { organizationsOf, requireOrganization } from '../../callers/principal.ts'
import { pageQuery, readCursor, toPage } from '../../http/page.ts'
import { problems, publicProblems } from '../../http/problem-schema.ts'
import { IdParams, Organization, refTo } from '../../http/schemas.ts'
import type { App } from '../../http/server.ts'
import { readTimeRange, recordQuery } from '../../http/time-page.ts'
import { Lease, LeasePage, LeaseReceipt, toLease } from './lease.ts'
import { listLeases } from './queries.ts'
import { type ReceiptDeps, signReceipt } from './receipt.ts'

const list = {
  operationId: 'listLeases',
  tags: ['Audit'],
  summary: 'Which token was handed out to whom',
  description: 'The newest first. A key for some organizations sees the leases of those alone.',
  querystring: Type.Object(
    {
      organization: Type.Optional(Organization),
      connection_id: Type.Optional(
        Type.String({ format: 'uuid', description: 'Tokens of this connection.' }),
      ),
      access_key_id: Type.Optional(
        Type.String({ format: 'uuid', description: 'Tokens that this access key got.' }),
      ),
      ...recordQuery,
      ...pageQuery,
    },
    { additionalProperties: false },
  ),
  response: { 200: refTo(LeasePage), ...problems('not_found') },
}

const receipt = {
  operationId: 'getLeaseReceipt',
  tags: ['Audit'],
  summary: 'A signed receipt of a lease',
  description:
    'Proves to others what was handed out to whom and when, without the token. By the key that got the lease, or a manager.',
  params: IdParams,
  response: { 200: refTo(LeaseReceipt), ...problems('not_found') },
}

const KeySet = Type.Object(
  {
    keys: Type.Array(Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true })),
  },
  { $id: 'JsonWebKeySet', description: 'Public keys (RFC 7517, section 5).' },
)

const jwks = {
  operationId: 'getJwks',
  tags: ['Service'],
  security: [],
  summary: 'Public keys of receipts',
  description: 'A JSON Web Key Set (RFC 7517), with which receipts of leases can be checked.',
  response: {
    200: refTo(KeySet),
    ...publicProblems(),
  },
}

/** How long whoever checks receipts may keep the keys: a new one is there long before the first receipt of it. */
const JWKS_CACHE = 'public, max-age=300'

export const registerLeaseRecordRoutes = (
  app: App,
  deps: ReceiptDeps & { authenticator: Authenticator },
): void => {
  const { db, namedKeys, authenticator } = deps
  for (const schema of [Lease, LeasePage, LeaseReceipt, KeySet]) app.addSchema(schema)

  app.get('/v1/leases', { onRequest: authenticator.requireRole('admin'), schema: list }, async (request) => {
    const { organization, connection_id, access_key_id, limit = 20 } = request.query
    const principal = principalOf(request)
    if (organization !== undefined) requireOrganization(principal, organization)
    const rows = await listLeases(db, {
      organizations: organization === undefined ? organizationsOf(principal) : [organization],
      connectionId: connection_id,
      accessKeyId: access_key_id,
      ...readTimeRange(request.query),
      before: readCursor(request.query.cursor),
      limit: limit + 1,
    })
    return toPage(rows, limit, toLease)
  })

  app.get(
    '/v1/leases/:id/receipt',
    { onRequest: authenticator.requireRole('scanner'), schema: receipt },
    async (request) => ({ receipt: await signReceipt(deps, request.params.id, principalOf(request)) }),
  )

  app.get('/.well-known/jwks.json', { schema: jwks }, async (_request, reply) =>
    reply.header('cache-control', JWKS_CACHE).send({ keys: await namedKeys.receiptPublicKeys() }),
  )
}
