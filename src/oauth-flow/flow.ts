import type { FastifyReply, FastifyRequest } from 'fastify'
import { v7 as uuidv7 } from 'uuid'
import { addSeconds } from '../clock/clock.ts'
import { type FlowResult, hashSessionToken } from '../connect-sessions/connect-session.ts'
import { findOpenSession, findSession } from '../connect-sessions/queries.ts'
import type { Receipt } from '../connect-sessions/receipt.ts'
import { isDatabaseUnavailable } from '../db/database.ts'
import type { AuthorizationRequestRow, InstanceRow, OAuthAppRow } from '../db/tables.ts'
import type { ProblemCode } from '../errors/catalogue.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { findInstance } from '../instances/queries.ts'
import { findOAuthAppBySlug } from '../oauth-apps/queries.ts'
import type { TokenAnswer } from '../oauth-apps/token-answer.ts'
import type { FlowDeps } from './flow-deps.ts'
import { completeGrant, keepGrant } from './grant.ts'
import {
  consumeAuthorizationRequest,
  findAuthorizationRequest,
  insertAuthorizationRequest,
} from './queries.ts'

const FLOW_SECONDS = 600

type AppAndInstance = { app: OAuthAppRow; instance: InstanceRow }

/** What the state parameter carries, encrypted, through GitLab and back. */
const stateBinding = (app: OAuthAppRow) => ({ ownerId: app.id, version: 1, use: 'state' }) as const

const findApp = async ({ db }: FlowDeps, slug: string): Promise<AppAndInstance> => {
  const app = await findOAuthAppBySlug(db, slug)
  const instance = app && (await findInstance(db, app.instance_id))
  if (!app || !instance) throw notFound('OAuth app')
  return { app, instance }
}

/**
 * Begins the authorization code flow (RFC 6749, section 4.1) with PKCE (RFC 7636).
 * @returns the URL at GitLab to which the browser goes.
 * @throws {Problem} session_expired, not_found
 */
export const startFlow = async (
  deps: FlowDeps,
  slug: string,
  sessionToken: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<string> => {
  const { db, vault, clock, oauthClients } = deps
  const { app, instance } = await findApp(deps, slug)
  const now = new Date(clock())
  const session = await findOpenSession(db, hashSessionToken(sessionToken), now)
  if (!session) throw new Problem('session_expired', 'This link has expired or was used. Ask for a new one.')
  if (!session.methods.includes('oauth'))
    throw new Problem('forbidden', 'This link does not allow to connect by OAuth.')
  const id = uuidv7()
  await insertAuthorizationRequest(db, {
    id,
    connect_session_id: session.id,
    oauth_app_id: app.id,
    created_at: now,
    expires_at: addSeconds(now, FLOW_SECONDS),
  })
  const state = await vault.seal(id, stateBinding(app))
  const client = await oauthClients.for(app, instance)
  return client.authorizationUrl(request, reply, state)
}

export type CallbackQuery = {
  code?: string | undefined
  state?: string | undefined
  error?: string | undefined
}
export type FlowEnd = {
  result: FlowResult
  returnUrl: string | null
  /** For the browser that connected. */
  receipt?: Receipt
}

/** Ends the flow: whatever happened becomes a result for the browser. Only a finished connection stays stored. */
export const finishFlow = async (
  deps: FlowDeps,
  slug: string,
  query: CallbackQuery,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FlowEnd> => {
  const found = await findApp(deps, slug)
  const authorization = await findByState(deps, found.app, query.state)
  const client = await deps.oauthClients.for(found.app, found.instance)
  if (!authorization || !client.isStateOfBrowser(request)) return failed('invalid_state', null)
  const session = await findSession(deps.db, authorization.connect_session_id)
  const returnUrl = session?.return_url ?? null
  const now = new Date(deps.clock())
  if (!session || authorization.expires_at <= now || session.expires_at <= now)
    return failed('session_expired', returnUrl)
  if (!(await consumeAuthorizationRequest(deps.db, authorization.id, now)))
    return failed('callback_replayed', returnUrl)
  if (session.used_at !== null) return failed('session_expired', returnUrl)
  if (query.error !== undefined) {
    return failed(query.error === 'access_denied' ? 'access_denied' : 'authorization_failed', returnUrl)
  }
  if (!query.code) return failed('authorization_failed', returnUrl)

  const answer = await client.exchangeCode(request, reply)
  if (answer.kind !== 'issued') {
    request.log.warn(
      {
        request_id: request.id,
        answer: answer.kind,
        oauth_app: slug,
        ...(answer.kind === 'failure' ? { reason: answer.reason } : {}),
      },
      'code exchange failed',
    )
    return failed(codeOf(answer), returnUrl)
  }
  try {
    const kept = await keepGrant(deps, authorization, answer.tokenSet, now)
    return await connect(deps, kept, found, returnUrl, request)
  } catch (error) {
    // The person is told as after any other failure, and can simply begin again.
    request.log.error({ err: error, request_id: request.id }, 'a grant could not be saved')
    return failed(isDatabaseUnavailable(error) ? 'database_unavailable' : 'internal_error', returnUrl)
  }
}

const connect = async (
  deps: FlowDeps,
  authorization: AuthorizationRequestRow,
  { app, instance }: AppAndInstance,
  returnUrl: string | null,
  request: FastifyRequest,
): Promise<FlowEnd> => {
  try {
    const { id, created } = await completeGrant(deps, authorization, app, instance, {
      requestId: request.id,
      address: request.ip,
    })
    return {
      result: { status: 'connected', connectionId: id },
      returnUrl,
      receipt: {
        connectionId: id,
        connectSessionId: authorization.connect_session_id,
        created,
        issuedToUs: true,
      },
    }
  } catch (error) {
    if (error instanceof Problem) return failed(error.code, returnUrl)
    throw error
  }
}

const findByState = async (deps: FlowDeps, app: OAuthAppRow, state: string | undefined) => {
  if (!state) return undefined
  const id = await deps.vault.open(state, stateBinding(app)).catch(() => undefined)
  const authorization = id === undefined ? undefined : await findAuthorizationRequest(deps.db, id)
  return authorization?.oauth_app_id === app.id ? authorization : undefined
}

const failed = (code: ProblemCode, returnUrl: string | null): FlowEnd => ({
  result: { status: 'failed', code },
  returnUrl,
})

const codeOf = (answer: Exclude<TokenAnswer, { kind: 'issued' }>): ProblemCode => {
  switch (answer.kind) {
    case 'invalid_state':
      return 'invalid_state'
    case 'refused':
      return answer.error === 'invalid_client' ? 'oauth_app_rejected' : 'code_refused'
    case 'rate_limited':
    case 'server_error':
      return 'gitlab_unavailable'
    case 'unreadable':
      return 'not_a_gitlab'
    case 'failure':
      if (answer.reason === 'address_not_allowed' || answer.reason === 'tls_not_trusted') return answer.reason
      return 'gitlab_unavailable'
  }
}
