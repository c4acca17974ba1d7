import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Origin, originOf } from '../callers/principal.ts'
import { startPatience } from '../clock/patience.ts'
import { findLink } from '../connect-sessions/find-link.ts'
import { isDatabaseUnavailable } from '../db/database.ts'
import type { AuthorizationRequestRow, OAuthAppRow } from '../db/tables.ts'
import type { ProblemCode } from '../errors/catalogue.ts'
import { Problem } from '../errors/problem.ts'
import type { OAuthClient } from '../oauth-apps/oauth-clients.ts'
import type { TokenAnswer } from '../oauth-apps/token-answer.ts'
import { type AppAndInstance, requireApp, stateBinding } from './authorization-app.ts'
import { completeGrant } from './complete-grant.ts'
import type { FlowDeps } from './flow-deps.ts'
import { type FlowEnd, failed } from './flow-end.ts'
import { keepGrant } from './kept-grant.ts'
import { consumeAuthorizationRequest, findAuthorizationRequest } from './queries.ts'
import { nameFlow } from './start-flow.ts'

export type CallbackQuery = {
  code?: string | undefined
  state?: string | undefined
  error?: string | undefined
}

type Callback = AppAndInstance & {
  authorization: AuthorizationRequestRow
  client: OAuthClient
  flow: string
  returnUrl: string | null
}

/** A person waits for as long as the exchange may take: no other answer could lead the browser on. */
const BROWSER_PATIENCE_MS = 180_000

/** Ends the flow: whatever happened becomes a result for the browser. A finished connection stays stored, and a grant about which a person is asked. */
export const finishFlow = async (
  deps: FlowDeps,
  slug: string,
  query: CallbackQuery,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FlowEnd> => {
  const found = await requireApp(deps.db, { slug })
  const authorization = await findByState(deps, found.app, query.state)
  if (!authorization) return failed('invalid_state', null)
  const now = new Date(deps.clock())
  const link = await findLink(deps.db, { id: authorization.connect_session_id }, now)
  const session = link.ended === undefined ? link.link.session : link.session
  const client = await deps.oauthClients.for(found.app, found.instance)
  if (!session || !client.isStateOfBrowser(request, nameFlow(session))) return failed('invalid_state', null)
  const returnUrl = session.return_url
  if (authorization.expires_at <= now || link.ended === 'expired' || link.ended === 'withdrawn')
    return failed('session_expired', returnUrl)
  if (!(await consumeAuthorizationRequest(deps.db, authorization.id, now)))
    return failed('callback_replayed', returnUrl)
  if (link.ended !== undefined) return failed('session_expired', returnUrl)
  if (query.error !== undefined) {
    return failed(query.error === 'access_denied' ? 'access_denied' : 'authorization_failed', returnUrl)
  }
  if (!query.code) return failed('authorization_failed', returnUrl)
  const callback = { ...found, authorization, client, flow: nameFlow(session), returnUrl }
  // Goes on when the browser has gone away: the code is spent, and what GitLab issues exists nowhere else.
  const attempt = () => exchangeAndConnect(deps, callback, request, reply)
  const end = await deps.attempts.run(`code ${authorization.id}`, attempt, startPatience(BROWSER_PATIENCE_MS))
  return end ?? failed('gitlab_unavailable', returnUrl)
}

const findByState = async (
  deps: FlowDeps,
  app: OAuthAppRow,
  state: string | undefined,
): Promise<AuthorizationRequestRow | undefined> => {
  if (!state) return undefined
  const id = await deps.vault.open(state, stateBinding(app)).catch(() => undefined)
  const authorization = id === undefined ? undefined : await findAuthorizationRequest(deps.db, id)
  return authorization?.oauth_app_id === app.id ? authorization : undefined
}

const exchangeAndConnect = async (
  deps: FlowDeps,
  callback: Callback,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FlowEnd> => {
  const { authorization, client, flow, app, returnUrl } = callback
  const sentAt = new Date(deps.clock())
  const answer = await client.exchangeCode(request, reply, flow)
  if (answer.kind !== 'issued') {
    request.log.warn(
      {
        request_id: request.id,
        answer: answer.kind,
        oauth_app: app.slug,
        ...(answer.kind === 'failure' ? { reason: answer.reason } : {}),
      },
      'code exchange failed',
    )
    return failed(codeOf(answer), returnUrl)
  }
  try {
    const kept = await keepGrant(deps, authorization, answer.tokenSet, sentAt)
    return await connect(deps, kept, callback, originOf(request))
  } catch (error) {
    if (error instanceof Problem) return failed(error.code, returnUrl)
    // The person is told as after any other failure, and can simply begin again.
    request.log.error({ err: error, request_id: request.id }, 'a grant could not be saved')
    return failed(isDatabaseUnavailable(error) ? 'database_unavailable' : 'internal_error', returnUrl)
  }
}

/** @throws {Problem} why it was not connected */
const connect = async (
  deps: FlowDeps,
  kept: AuthorizationRequestRow,
  { app, instance, returnUrl }: Callback,
  origin: Origin,
): Promise<FlowEnd> => {
  const completion = await completeGrant(deps, kept, { app, instance }, origin, { saidYes: false })
  if (completion.kind === 'waits') return { kind: 'waits', authorizationId: kept.id, until: completion.until }
  const { id, created } = completion.connection
  return {
    kind: 'ended',
    result: { status: 'connected', connectionId: id },
    returnUrl,
    receipt: { connectionId: id, connectSessionId: kept.connect_session_id, created, issuedToUs: true },
  }
}

const codeOf = (answer: Exclude<TokenAnswer, { kind: 'issued' }>): ProblemCode => {
  switch (answer.kind) {
    case 'invalid_state':
      return 'invalid_state'
    case 'refused':
      return answer.error === 'invalid_client' ? 'oauth_app_rejected' : 'code_refused'
    case 'rate_limited':
    case 'banned':
    case 'server_error':
      return 'gitlab_unavailable'
    case 'unreadable':
      return 'not_a_gitlab'
    case 'failure':
      if (answer.reason === 'address_not_allowed' || answer.reason === 'tls_not_trusted') return answer.reason
      return 'gitlab_unavailable'
  }
}
