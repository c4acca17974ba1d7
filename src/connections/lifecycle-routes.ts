import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../access-keys/authenticate.ts'
import { mayActIn } from '../access-keys/principal.ts'
import { recordAuditEvent } from '../audit/queries.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { hasScope } from '../gitlab/scopes.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { IdParams, Name, NullableText, Token } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { tokenInUse } from './claim.ts'
import { type ConnectDeps, callerOf } from './connect-token.ts'
import { isRefreshable, toConnection } from './connection.ts'
import { disconnect } from './disconnect.ts'
import { type ConnectionWithInstance, findConnection, updateConnection } from './queries.ts'
import type { Refresher } from './refresh.ts'
import { replaceToken } from './replace-token.ts'
import { rotate } from './rotate.ts'
import type { TokenSaver } from './token-saver.ts'
import type { ConnectionVerdict } from './verify-connection.ts'
import { missingScopesProblem, toProblem } from './verify-token.ts'

const tags = ['Connections']

type Deps = ConnectDeps & {
  authenticator: Authenticator
  refresher: Refresher
  tokenSaver: TokenSaver
  verify(connectionId: string): Promise<ConnectionVerdict>
}

export const registerLifecycleRoutes = (app: App, deps: Deps): void => {
  const { db, clock, authenticator, refresher } = deps
  const onRequest = authenticator.requireRole('manager')
  const ConnectionRef = Type.Unsafe<Record<string, unknown>>({ $ref: 'Connection#' })

  type Caller = Parameters<typeof principalOf>[0]
  const findOwn = async (request: Caller, id: string): Promise<ConnectionWithInstance> => {
    const row = await findConnection(db, id)
    if (!row || !mayActIn(principalOf(request), row.organization)) throw notFound('connection')
    return row
  }
  const show = async (request: Caller, id: string) =>
    toConnection(await findOwn(request, id), new Date(clock()))

  app.patch(
    '/v1/connections/:id',
    {
      onRequest,
      schema: {
        operationId: 'updateConnection',
        tags,
        summary: 'Change a connection',
        params: IdParams,
        body: Type.Object(
          {
            name: Type.Optional(Type.Union([Name, Type.Null()])),
            auto_rotate: Type.Optional(
              Type.Boolean({
                description: 'Rotate the token before it ends; takes the scope api or self_rotate.',
              }),
            ),
          },
          { additionalProperties: false, minProperties: 1, examples: [{ name: 'nightly scans' }] },
        ),
        response: {
          200: ConnectionRef,
          ...problemsWithBody('not_found', 'wrong_token_kind', 'missing_scopes'),
        },
      },
    },
    async (request) => {
      const { name, auto_rotate } = request.body
      const row = await findOwn(request, request.params.id)
      if (auto_rotate && row.method === 'oauth') {
        throw new Problem(
          'wrong_token_kind',
          'An OAuth token is refreshed by itself; only access tokens are rotated.',
        )
      }
      if (auto_rotate && !hasScope(row.scopes, 'self_rotate')) {
        throw missingScopesProblem(['self_rotate'], 'to be rotated automatically')
      }
      const now = new Date(clock())
      await db.transaction().execute(async (transaction) => {
        await updateConnection(transaction, row.id, {
          ...(name === undefined ? {} : { name }),
          ...(auto_rotate === undefined ? {} : { auto_rotate }),
          updated_at: now,
        })
        await recordAuditEvent(transaction, {
          at: now,
          action: 'connection.updated',
          organization: row.organization,
          subjectId: row.id,
          details: { change: Object.keys(request.body).join(' ') },
          ...callerOf(principalOf(request), request.id),
        })
      })
      return show(request, row.id)
    },
  )

  app.delete(
    '/v1/connections/:id',
    {
      onRequest,
      schema: {
        operationId: 'deleteConnection',
        tags,
        summary: 'Disconnect',
        description:
          'Revokes the token at GitLab and forgets it. 204 when both are done; 200 when it is forgotten here, but something is left to revoke at GitLab by hand.',
        params: IdParams,
        querystring: Type.Object(
          {
            revoke: Type.Optional(
              Type.Boolean({ default: true, description: 'false keeps the token alive at GitLab.' }),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object({
            left_to_revoke: Type.Object({
              reason: Type.String(),
              where: Type.String({ description: 'The page at GitLab where a person can revoke it.' }),
            }),
          }),
          204: Type.Null({ description: 'Revoked and forgotten.' }),
          ...problems('not_found', 'gitlab_unavailable'),
        },
      },
    },
    async (request, reply) => {
      const row = await findOwn(request, request.params.id)
      const caller = callerOf(principalOf(request), request.id)
      const { leftToRevoke } = await disconnect(
        deps,
        row.id,
        { revoke: request.query.revoke ?? true },
        caller,
      )
      if (leftToRevoke) return reply.code(200).send({ left_to_revoke: leftToRevoke })
      return reply.code(204).send(null)
    },
  )

  app.post(
    '/v1/connections/:id/verify',
    {
      onRequest,
      schema: {
        operationId: 'verifyConnection',
        tags,
        summary: 'Verify a connection',
        description: 'Asks GitLab about the stored token now, and writes down what it says.',
        params: IdParams,
        response: {
          200: Type.Object({
            works: Type.Boolean(),
            reason: NullableText('Why not: a code of the problem catalogue.'),
            detail: NullableText('The same as a sentence that helps.'),
            connection: ConnectionRef,
          }),
          ...problems(
            'not_found',
            'gitlab_unavailable',
            'tls_not_trusted',
            'address_not_allowed',
            'not_a_gitlab',
          ),
        },
      },
    },
    async (request) => {
      const { id } = await findOwn(request, request.params.id)
      const verdict = await deps.verify(id)
      if (verdict.kind === 'unknown') {
        if (verdict.refusal) throw toProblem(verdict.refusal)
        throw new Problem('gitlab_unavailable', 'The token is being changed right now.', {
          retryAfterSeconds: 1,
        })
      }
      const refusal = verdict.kind === 'dead' ? verdict.refusal : undefined
      return {
        works: verdict.kind === 'works',
        reason: refusal?.code ?? null,
        detail: refusal?.detail ?? null,
        connection: await show(request, id),
      }
    },
  )

  app.post(
    '/v1/connections/:id/refresh',
    {
      onRequest,
      schema: {
        operationId: 'refreshConnection',
        tags,
        summary: 'Refresh a connection now',
        description:
          'Replaces the OAuth token by a new one. Waits for nobody: while scanners hold leases it is 409 token_in_use.',
        params: IdParams,
        querystring: Type.Object(
          {
            on_conflict: Type.Optional(
              Type.Union([Type.Literal('respect'), Type.Literal('preempt')], {
                default: 'respect',
                description: 'preempt: refresh although scanners hold leases, and break them.',
              }),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          200: ConnectionRef,
          ...problems(
            'not_found',
            'not_refreshable',
            'token_in_use',
            'needs_reauthorization',
            'gitlab_unavailable',
            'oauth_app_rejected',
          ),
        },
      },
    },
    async (request) => {
      const row = await findOwn(request, request.params.id)
      if (!isRefreshable(row)) {
        throw new Problem(
          'not_refreshable',
          'Without a refresh token and its OAuth app there is nothing to refresh with.',
        )
      }
      const wish = { knownVersion: row.token_version, onConflict: request.query.on_conflict ?? 'respect' }
      const outcome = await refresher.refresh(row.id, wish)
      const now = new Date(clock())
      switch (outcome.kind) {
        case 'in_use':
          throw tokenInUse(outcome.until, now)
        case 'failing': {
          const code = outcome.code === 'oauth_app_rejected' ? outcome.code : 'gitlab_unavailable'
          const retryAfterSeconds = (outcome.until.getTime() - now.getTime()) / 1000
          throw new Problem(code, undefined, { retryAfterSeconds })
        }
        case 'newer_version':
          return show(request, row.id)
        case 'read_again': {
          const current = await findOwn(request, row.id)
          throw new Problem('needs_reauthorization', current.status_detail ?? undefined)
        }
      }
    },
  )

  app.post(
    '/v1/connections/:id/rotate',
    {
      onRequest,
      // Nothing has to be said: no body is an empty one.
      preValidation: async (request) => {
        request.body ??= {}
      },
      schema: {
        operationId: 'rotateConnection',
        tags,
        summary: 'Rotate an access token now',
        description:
          'GitLab makes a successor of the personal, group or project access token and revokes the old one. Takes the scope api or self_rotate, and that no scanner holds a lease.',
        params: IdParams,
        body: Type.Optional(
          Type.Object(
            {
              expires_on: Type.Optional(
                Type.String({
                  format: 'date',
                  description: 'The end of the new token; as long a life as before when left out.',
                }),
              ),
            },
            { additionalProperties: false, examples: [{}] },
          ),
        ),
        response: {
          200: ConnectionRef,
          ...problemsWithBody(
            'not_found',
            'wrong_token_kind',
            'missing_scopes',
            'token_in_use',
            'rotation_refused',
            'needs_reauthorization',
            'token_unknown',
            'token_expired',
            'token_revoked',
            'user_blocked',
            'gitlab_unavailable',
          ),
        },
      },
    },
    async (request) => {
      const { id } = await findOwn(request, request.params.id)
      await rotate(deps, id, request.body?.expires_on)
      return show(request, id)
    },
  )

  app.put(
    '/v1/connections/:id/token',
    {
      onRequest,
      schema: {
        operationId: 'replaceConnectionToken',
        tags,
        summary: 'Replace the token',
        description:
          'By a new one of the same account, verified first. Tokens handed out before stay valid at GitLab.',
        params: IdParams,
        body: Type.Object(
          { token: Token('The new token.', 'glpat-FAKE-0123456789abcdef') },
          { additionalProperties: false, examples: [{ token: 'glpat-FAKE-0123456789abcdef' }] },
        ),
        response: {
          200: ConnectionRef,
          ...problemsWithBody(
            'not_found',
            'different_identity',
            'wrong_token_kind',
            'group_out_of_reach',
            'token_unknown',
            'token_expired',
            'token_revoked',
            'user_blocked',
            'missing_scopes',
            'dpop_required',
            'not_a_gitlab',
            'tls_not_trusted',
            'address_not_allowed',
            'gitlab_unavailable',
          ),
        },
      },
    },
    async (request) => {
      const { id } = await findOwn(request, request.params.id)
      await replaceToken(deps, id, request.body.token, callerOf(principalOf(request), request.id))
      return show(request, id)
    },
  )
}
