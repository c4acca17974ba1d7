import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { problems } from '../http/problem-schema.ts'
import { Id, NullableText, Organization, refTo, Status } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { CREDENTIAL_PROBLEMS, CredentialRef, credentialQuery } from '../leases/credential.ts'
import { type CredentialSender, deliveryFor, describeAnswers, wrapQuery } from '../leases/sealed-delivery.ts'
import { readShortConditions, ShortConditions } from '../weather/conditions.ts'
import { type FindByUrlDeps, leaseTokenByUrl, rankByUrl } from './find-by-url.ts'
import type { RankedCandidate } from './url-match.ts'

const tags = ['Credentials']

export const Url = Type.String({
  minLength: 1,
  maxLength: 2048,
  description:
    'URL of a repository or group: https://host/group/project(.git), git@host:group/project.git, ssh://...',
  examples: ['https://gitlab.com/acme/web-shop.git'],
})

const Candidate = Type.Object(
  {
    connection_id: Id('Id of the connection.'),
    organization: Organization,
    base_url: Type.String({ description: 'Base URL of the GitLab instance.' }),
    group: NullableText(
      'Group or project to which the connection is limited. null: everything that its token reaches.',
    ),
    status: Status,
    won: Type.Boolean({ description: 'Whether a lookup gets the token of this connection.' }),
    reason: Type.String({ description: 'Why it won or lost, as a sentence for people.' }),
  },
  { $id: 'Candidate', description: 'A connection that covers a URL.' },
)

const Explanation = Type.Object(
  {
    result: Type.Union([Type.Literal('winner'), Type.Literal('none')], {
      description: 'none: no connection covers the URL, or none that does can be used.',
    }),
    candidates: Type.Array(refTo(Candidate), { description: 'Best first.' }),
    conditions: Type.Array(refTo(ShortConditions), {
      description: 'The weather at the instances of the candidates.',
    }),
  },
  { $id: 'Explanation', description: 'Which connection a URL would get, and why.' },
)

const toCandidate = ({ id, organization, base_url, path, status, won, reason }: RankedCandidate) => ({
  connection_id: id,
  organization,
  base_url,
  group: path || null,
  status,
  won,
  reason,
})

const find = {
  operationId: 'findCredential',
  tags,
  summary: 'Get a working token for a repository or group',
  description:
    'Gives the token of the connection that matches best: the one with the longest group, then one that is known to reach the project, then one whose token can live min_ttl without disturbing a lease, then the one with most left of its rate limit at GitLab, then the one that GitLab confirmed last. One that GitLab refused for the project is out. Where it is open which of several reaches a project, the first lookup asks GitLab. A key of more than one organization names the organization.',
  querystring: Type.Object(
    { url: Url, organization: Type.Optional(Organization), ...credentialQuery, ...wrapQuery },
    { additionalProperties: false },
  ),
  response: {
    200: CredentialRef,
    ...problems(...CREDENTIAL_PROBLEMS, 'no_connection_for_url', 'organization_required'),
  },
  described: describeAnswers({ wraps: true }),
}

const explain = {
  operationId: 'explainCredential',
  tags,
  summary: 'Explain which connection a URL would get',
  description:
    'Lists every connection that covers the URL, best first, and why it won or lost. The answer contains no token, and there is no lease.',
  querystring: Type.Object(
    { url: Url, organization: Type.Optional(Organization), min_ttl: credentialQuery.min_ttl },
    { additionalProperties: false },
  ),
  response: {
    200: refTo(Explanation),
    ...problems('not_found', 'organization_required'),
  },
}

type Deps = FindByUrlDeps &
  Parameters<typeof readShortConditions>[0] & {
    authenticator: Authenticator
    sendCredential: CredentialSender
  }

export const registerLookupRoutes = (app: App, deps: Deps): void => {
  const { authenticator, sendCredential } = deps
  for (const schema of [Candidate, ShortConditions, Explanation]) app.addSchema(schema)

  app.get(
    '/v1/credentials',
    { onRequest: authenticator.requireRoleFromMemory('scanner'), schema: find },
    async (request, reply) => {
      const { url, organization, min_ttl, on_conflict = 'respect', purpose, wrap } = request.query
      const delivery = deliveryFor(request, principalOf(request), { wrap })
      const options = { minTtl: min_ttl, onConflict: on_conflict, purpose, delivery }
      const leased = await authenticator.identifyAgainIfNotFound(request, 'scanner', (principal) =>
        leaseTokenByUrl(deps, principal, { url, organization }, options),
      )
      return sendCredential(reply, principalOf(request), leased, delivery)
    },
  )

  const onRequest = authenticator.requireRole('scanner')
  app.get('/v1/credentials/explain', { onRequest, schema: explain }, async (request) => {
    const { url, organization, min_ttl } = request.query
    const byUrl = { url, organization }
    const { kind, ranked } = await rankByUrl(deps, principalOf(request), byUrl, { minTtl: min_ttl })
    const baseUrls = [...new Set(ranked.map(({ base_url }) => base_url))]
    const conditions = await readShortConditions(deps, baseUrls)
    return { result: kind, candidates: ranked.map(toCandidate), conditions }
  })
}
