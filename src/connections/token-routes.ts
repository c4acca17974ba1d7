import { type Static, Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { actorOf } from '../callers/principal.ts'
import { Problem } from '../errors/problem.ts'
import { KNOWN_GITLAB_REFUSALS, refusalProblem } from '../gitlab/refusal.ts'
import { NullableProblemCode, problems, problemsWithBody } from '../http/problem-schema.ts'
import { NullableText, refTo, Token } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import type { Refresher } from '../token-lifecycle/refresh.ts'
import { type RotateDeps, rotate } from '../token-lifecycle/rotate.ts'
import type { StoredTokenVerdict, StoredTokenVerifier } from '../token-lifecycle/verify-stored-token.ts'
import { TOKEN_REFUSALS } from './connect-routes.ts'
import { Connection, ConnectionParams } from './connection.ts'
import { refreshNow } from './refresh-now.ts'
import { replaceToken } from './replace-token.ts'
import { requireOwnConnection, showConnection } from './routes.ts'

const FAKE_TOKEN = 'glpat-FAKE-0123456789abcdef'
const tags = ['Connections']

const ConnectionVerification = Type.Object(
  {
    works: Type.Boolean({ description: 'Whether GitLab accepts the token.' }),
    reason: NullableProblemCode('Why GitLab does not accept it. null: it does.'),
    detail: NullableText('The reason as a sentence for people. null: the token works.'),
    connection: refTo(Connection),
  },
  { $id: 'ConnectionVerification', description: 'What GitLab says of a stored token.' },
)

const verify = {
  operationId: 'verifyConnection',
  tags,
  summary: 'Verify a connection',
  description:
    'Asks GitLab about the stored token now. The status of the connection follows what GitLab says.',
  params: ConnectionParams,
  response: {
    200: refTo(ConnectionVerification),
    ...problems(
      'not_found',
      'missing_scopes',
      'dpop_required',
      'gitlab_unavailable',
      'address_banned',
      'tls_not_trusted',
      'address_not_allowed',
    ),
  },
}

const refresh = {
  operationId: 'refreshConnection',
  tags,
  summary: 'Refresh a connection now',
  description:
    'Replaces the OAuth token by a new one. The call does not wait for scanners: while they hold leases, the answer is 409 token_in_use.',
  params: ConnectionParams,
  querystring: Type.Object(
    {
      on_conflict: Type.Optional(
        Type.Union([Type.Literal('respect'), Type.Literal('preempt')], {
          default: 'respect',
          description:
            'What happens while scanners hold leases. respect: the answer is 409 token_in_use. preempt: the service refreshes, and their token stops working.',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  response: {
    200: refTo(Connection),
    ...problems(
      'not_found',
      'not_refreshable',
      'token_in_use',
      'needs_reauthorization',
      'gitlab_unavailable',
      'oauth_app_rejected',
    ),
  },
}

const rotation = {
  operationId: 'rotateConnection',
  tags,
  summary: 'Rotate an access token now',
  description:
    'GitLab makes a successor of the personal, group or project access token and revokes the old one. The token needs the scope api or self_rotate, and no scanner may hold a lease.',
  params: ConnectionParams,
  body: Type.Optional(
    Type.Object(
      {
        expires_on: Type.Optional(
          Type.String({
            format: 'date',
            description:
              'Last day of the new token. When you leave it out, the new token lives as long as the old one did.',
          }),
        ),
      },
      { additionalProperties: false, examples: [{}] },
    ),
  ),
  response: {
    200: refTo(Connection),
    ...problemsWithBody(
      'not_found',
      'wrong_token_kind',
      'token_in_use',
      'rotation_refused',
      'needs_reauthorization',
      ...KNOWN_GITLAB_REFUSALS,
    ),
  },
}

const replacement = {
  operationId: 'replaceConnectionToken',
  tags,
  summary: 'Replace the token',
  description:
    'Stores the successor of a token, after GitLab confirmed it: a token of the same account, or of the new bot of the same group or project. The connection keeps its id, and is active again. Tokens that scanners hold stay valid at GitLab.',
  params: ConnectionParams,
  body: Type.Object(
    {
      token: Token('The new token.', FAKE_TOKEN),
      accept_new_identity: Type.Optional(
        Type.Boolean({
          default: false,
          description:
            'true: the token may belong to another account than the connection, which goes on under it. The audit record names both.',
        }),
      ),
    },
    { additionalProperties: false, examples: [{ token: FAKE_TOKEN }] },
  ),
  response: {
    200: refTo(Connection),
    ...problemsWithBody(
      'not_found',
      'different_identity',
      'group_out_of_reach',
      'group_required',
      ...TOKEN_REFUSALS,
    ),
  },
}

/** @throws {Problem} gitlab_unavailable and others when GitLab does not say whether the token works */
const requireKnown = (verdict: StoredTokenVerdict): Exclude<StoredTokenVerdict, { kind: 'unknown' }> => {
  if (verdict.kind !== 'unknown') return verdict
  throw verdict.refusal
    ? refusalProblem(verdict.refusal)
    : new Problem('gitlab_unavailable', 'The token is being changed right now.', { retryAfterSeconds: 1 })
}

const toVerification = (
  verdict: Exclude<StoredTokenVerdict, { kind: 'unknown' }>,
  connection: Static<typeof Connection>,
) => {
  const refusal = verdict.kind === 'dead' ? verdict.refusal : undefined
  return {
    works: verdict.kind === 'works',
    reason: refusal?.code ?? null,
    detail: refusal?.detail ?? null,
    connection,
  }
}

type Deps = RotateDeps & {
  authenticator: Authenticator
  refresher: Refresher
  verifier: StoredTokenVerifier
}

export const registerTokenRoutes = (app: App, deps: Deps): void => {
  const { db, authenticator, verifier } = deps
  const onRequest = authenticator.requireRole('manager')
  app.addSchema(ConnectionVerification)

  app.post('/v1/connections/:id/verify', { onRequest, schema: verify }, async (request) => {
    const { id } = await requireOwnConnection(db, request, request.params.id)
    const verdict = requireKnown(await verifier.verify(id))
    return toVerification(verdict, await showConnection(deps, request, id))
  })

  app.post('/v1/connections/:id/refresh', { onRequest, schema: refresh }, async (request) => {
    const row = await requireOwnConnection(db, request, request.params.id)
    const actor = actorOf(principalOf(request), request)
    await refreshNow(deps, row, request.query.on_conflict ?? 'respect', actor)
    return showConnection(deps, request, row.id)
  })

  app.post(
    '/v1/connections/:id/rotate',
    {
      onRequest,
      // A missing body counts as an empty one.
      preValidation: async (request) => {
        request.body ??= {}
      },
      schema: rotation,
    },
    async (request) => {
      const { id } = await requireOwnConnection(db, request, request.params.id)
      await rotate(deps, id, request.body?.expires_on)
      return showConnection(deps, request, id)
    },
  )

  app.put('/v1/connections/:id/token', { onRequest, schema: replacement }, async (request) => {
    const { id } = await requireOwnConnection(db, request, request.params.id)
    const { token, accept_new_identity = false } = request.body
    await replaceToken(deps, id, token, actorOf(principalOf(request), request), accept_new_identity)
    return showConnection(deps, request, id)
  })
}
