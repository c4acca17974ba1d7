import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { type Authenticator, principalOf } from '../access-keys/authenticate.ts'
import { hasRole, organizationsOf, type Principal, requireOrganization } from '../access-keys/principal.ts'
import { secondsUntil } from '../clock/clock.ts'
import { TokenKind } from '../connections/connection.ts'
import type { Database, RunPrepared } from '../db/database.ts'
import { statusOf } from '../errors/catalogue.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { problems } from '../http/problem-schema.ts'
import {
  Id,
  IdParams,
  isoTimeOrNull,
  NullableInteger,
  NullableText,
  NullableTime,
  Organization,
} from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { findConnectionByUrl, rankByUrl } from './find-by-url.ts'
import {
  type FindAtDeps,
  type Credential as FoundCredential,
  findCredential,
  findCredentialAt,
} from './find-credential.ts'
import { releaseLease } from './queries.ts'
import { createRejectLease } from './reject-lease.ts'

/** A day: GitLab's OAuth tokens live two hours by default, and no scan should need more. */
const LONGEST_MIN_TTL = 86_400
const GIT_USERNAME = 'oauth2'
const tags = ['Credentials']

const Credential = Type.Object(
  {
    lease_id: Id('Of the lease: our promise that this token version stays usable. Release it when done.'),
    connection_id: Id('Of the connection.'),
    organization: Type.String(),
    base_url: Type.String(),
    token: Type.String(),
    token_kind: TokenKind,
    token_version: Type.Integer(),
    scopes: Type.Array(Type.String()),
    expires_at: NullableTime('When the token ends; null = never'),
    expires_in: NullableInteger('Seconds until then; null = never.'),
    git: Type.Object(
      { username: Type.String(), password: Type.String() },
      { description: 'For Git over HTTPS (Basic).' },
    ),
    api: Type.Object(
      { header: Type.String(), value: Type.String() },
      { description: 'The header for calls to the GitLab API.' },
    ),
  },
  { $id: 'Credential' },
)

const wishes = {
  min_ttl: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: LONGEST_MIN_TTL,
      description:
        'Seconds that the token must live, at least. Left out: 300 are wished for, and less is taken while others use the token.',
    }),
  ),
  on_conflict: Type.Optional(
    Type.Union([Type.Literal('respect'), Type.Literal('preempt')], {
      default: 'respect',
      description:
        'When only a refresh would do, but others hold leases: respect them (409 token_in_use), or refresh anyway and break them.',
    }),
  ),
  purpose: Type.Optional(Type.String({ maxLength: 200, description: 'For the record, such as a scan id.' })),
}
const Url = Type.String({
  minLength: 1,
  maxLength: 2048,
  description:
    'A repository or group: https://host/group/project(.git), git@host:group/project.git, ssh://...',
  examples: ['https://gitlab.com/acme/web-shop.git'],
})

const Candidate = Type.Object({
  connection_id: Type.String(),
  organization: Type.String(),
  base_url: Type.String(),
  group: NullableText('What it is limited to.'),
  status: Type.String(),
  won: Type.Boolean(),
  reason: Type.String(),
})

const CREDENTIAL_PROBLEMS = [
  'not_found',
  'needs_reauthorization',
  'connection_expired',
  'connection_revoked',
  'token_in_use',
  'min_ttl_unattainable',
  'gitlab_unavailable',
  'oauth_app_rejected',
] as const

const toCredential = ({ row, token }: FoundCredential, now: Date): Static<typeof Credential> => ({
  lease_id: row.lease_id,
  connection_id: row.connection_id,
  organization: row.organization,
  base_url: row.base_url,
  token,
  token_kind: row.token_kind,
  token_version: row.token_version,
  scopes: row.scopes,
  expires_at: isoTimeOrNull(row.token_expires_at),
  expires_in: row.token_expires_at === null ? null : Math.max(0, secondsUntil(row.token_expires_at, now)),
  git: { username: GIT_USERNAME, password: token },
  api: { header: 'Authorization', value: `Bearer ${token}` },
})

type Deps = FindAtDeps & { db: Database; runPrepared: RunPrepared; authenticator: Authenticator }

export const registerLookupRoutes = (app: App, deps: Deps): void => {
  const { db, clock, authenticator } = deps
  const rejectLease = createRejectLease(deps)
  const onRequest = authenticator.requireRoleFromMemory('scanner')
  const askForRole = authenticator.requireRole('scanner')
  app.addSchema(Credential)
  const CredentialRef = Type.Unsafe<Static<typeof Credential>>({ $ref: 'Credential#' })

  /**
   * Works with what this process remembers of the access key: the statements check the key again. When they find
   * nothing, it may be the key that is gone or has changed: ask once more before saying so.
   */
  const authoritatively = async <Result>(
    request: FastifyRequest,
    work: (principal: Principal) => Promise<Result>,
  ) => {
    const remembered = principalOf(request)
    try {
      return await work(remembered)
    } catch (error) {
      if (!(error instanceof Problem) || statusOf(error.code) !== 404) throw error
      await askForRole(request)
      throw error
    }
  }

  app.get(
    '/v1/connections/:id/credential',
    {
      onRequest,
      schema: {
        operationId: 'getCredential',
        tags,
        summary: 'Get a working token of a connection',
        description:
          'Refreshes it first when it lives too short. The lease is in the database before the token leaves.',
        params: IdParams,
        querystring: Type.Object(wishes, { additionalProperties: false }),
        response: { 200: CredentialRef, ...problems(...CREDENTIAL_PROBLEMS) },
      },
    },
    async (request, reply) => {
      const { min_ttl, on_conflict = 'respect', purpose } = request.query
      const wish = { minTtl: min_ttl, onConflict: on_conflict, purpose }
      const credential = await authoritatively(request, (principal) =>
        findCredential(deps, request.params.id, principal, wish),
      )
      return reply.header('cache-control', 'no-store').send(toCredential(credential, new Date(clock())))
    },
  )

  app.get(
    '/v1/credentials',
    {
      onRequest,
      schema: {
        operationId: 'findCredential',
        tags,
        summary: 'Get a working token for a repository or group',
        description:
          'Of the connection that matches best: longest group, then one that can live min_ttl without disturbing a lease, then the latest verified.',
        querystring: Type.Object(
          { url: Url, organization: Type.Optional(Organization), ...wishes },
          { additionalProperties: false },
        ),
        response: {
          200: CredentialRef,
          ...problems(...CREDENTIAL_PROBLEMS, 'no_connection_for_url', 'ambiguous_connection'),
        },
      },
    },
    async (request, reply) => {
      const { url, organization, min_ttl, on_conflict = 'respect', purpose } = request.query
      const credential = await authoritatively(request, async (principal) => {
        if (organization !== undefined) requireOrganization(principal, organization)
        const wish = { minTtl: min_ttl, onConflict: on_conflict, purpose }
        const credential = await findCredentialAt(deps, url, organization, principal, wish)
        if (credential) return credential
        const id = await findConnectionByUrl(deps, principal, { url, organization, minTtl: min_ttl })
        return findCredential(deps, id, principal, wish)
      })
      return reply.header('cache-control', 'no-store').send(toCredential(credential, new Date(clock())))
    },
  )

  app.get(
    '/v1/credentials/explain',
    {
      onRequest: askForRole,
      schema: {
        operationId: 'explainCredential',
        tags,
        summary: 'Explain which connection a URL would get',
        description: 'Every candidate, best first, and why it won or lost. No secret, no lease.',
        querystring: Type.Object(
          { url: Url, organization: Type.Optional(Organization), min_ttl: wishes.min_ttl },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object({
            result: Type.Union([Type.Literal('winner'), Type.Literal('ambiguous'), Type.Literal('none')]),
            candidates: Type.Array(Candidate),
          }),
          ...problems('not_found'),
        },
      },
    },
    async (request) => {
      const { url, organization, min_ttl } = request.query
      const principal = principalOf(request)
      if (organization !== undefined) requireOrganization(principal, organization)
      const { kind, ranked } = await rankByUrl(deps, principal, { url, organization, minTtl: min_ttl })
      const candidates = ranked.map(({ id, organization, base_url, group_path, status, won, reason }) => ({
        connection_id: id,
        organization,
        base_url,
        group: group_path || null,
        status,
        won,
        reason,
      }))
      return { result: kind, candidates }
    },
  )

  app.delete(
    '/v1/leases/:id',
    {
      onRequest: askForRole,
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
      onRequest: askForRole,
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
      const credential = await rejectLease(request.params.id, principalOf(request))
      return reply.header('cache-control', 'no-store').send(toCredential(credential, new Date(clock())))
    },
  )
}
