import type { Origin } from '../callers/principal.ts'
import { requireLink } from '../connect-sessions/find-link.ts'
import { findTarget } from '../connections/take-over.ts'
import type { AuthorizationRequestRow, ConnectSessionRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { type AppAndInstance, requireApp } from './authorization-app.ts'
import { completeGrant } from './complete-grant.ts'
import type { FlowDeps } from './flow-deps.ts'
import { type EndedFlow, failed } from './flow-end.ts'
import { type GrantUser, giveUpGrant, openGrant } from './kept-grant.ts'
import { findAuthorizationRequest } from './queries.ts'

/** What a person is asked about. */
type GrantQuestion = {
  user: GrantUser
  baseUrl: string
  organization: string
  until: Date
  returnUrl: string | null
  /** Who held the connection that the account would take over; null = a connection of its own. */
  takesOverFrom: string | null
}

type Waiting = AppAndInstance & {
  request: AuthorizationRequestRow & { grant_jwe: string; confirm_until: Date }
  session: ConnectSessionRow
}

/** @throws {Problem} session_expired when the time to answer is over, or the link or its access key has ended */
const requireWaiting = async (deps: FlowDeps, authorizationId: string): Promise<Waiting> => {
  const now = new Date(deps.clock())
  const request = await findAuthorizationRequest(deps.db, authorizationId)
  if (
    !request ||
    request.grant_jwe === null ||
    request.confirm_until === null ||
    request.confirm_until <= now
  )
    throw new Problem('session_expired', 'The time to answer is over. Start again.')
  const { grant_jwe, confirm_until } = request
  const { session } = await requireLink(deps.db, { id: request.connect_session_id }, now)
  const app = await requireApp(deps.db, { id: request.oauth_app_id })
  return { ...app, request: { ...request, grant_jwe, confirm_until }, session }
}

/** The same for an answer: a grant that can no longer be answered is dropped. */
const requireAnswerable = (deps: FlowDeps, authorizationId: string): Promise<Waiting> =>
  requireWaiting(deps, authorizationId).catch(async (error: unknown) => {
    if (error instanceof Problem && error.code === 'session_expired') await giveUpGrant(deps, authorizationId)
    throw error
  })

/** Whose account it is, and where it would be connected. @throws {Problem} session_expired */
export const readQuestion = async (deps: FlowDeps, authorizationId: string): Promise<GrantQuestion> => {
  const { request, session, instance } = await requireWaiting(deps, authorizationId)
  const { user } = await openGrant(deps.vault, request.id, request.grant_jwe)
  if (!user) throw new Error('A grant waits for a person without a user')
  return {
    user,
    baseUrl: instance.base_url,
    organization: session.organization,
    until: request.confirm_until,
    returnUrl: session.return_url,
    takesOverFrom: await findHolder(deps, session, user.id),
  }
}

/** Of the connection that a link reconnects, when that is somebody else. */
const findHolder = async (
  { db }: FlowDeps,
  { connection_id }: ConnectSessionRow,
  userId: string,
): Promise<string | null> => {
  if (connection_id === null) return null
  const { row } = await findTarget(db, connection_id)
  return row.gitlab_user_id === userId ? null : (row.gitlab_username ?? row.gitlab_user_id)
}

/** The person said yes: now it is stored. @throws {Problem} session_expired, gitlab_unavailable and other refusals */
export const confirmGrant = async (
  deps: FlowDeps,
  authorizationId: string,
  origin: Origin,
): Promise<EndedFlow> => {
  const { request, session, app, instance } = await requireAnswerable(deps, authorizationId)
  const completion = await completeGrant(deps, request, { app, instance }, origin, { saidYes: true })
  if (completion.kind === 'waits') throw new Error('A confirmed grant asked again')
  const { id, created } = completion.connection
  return {
    kind: 'ended',
    result: { status: 'connected', connectionId: id },
    returnUrl: session.return_url,
    receipt: { connectionId: id, connectSessionId: session.id, created, issuedToUs: true },
  }
}

/** The person said no: GitLab revokes the grant, and nothing of it stays. @throws {Problem} session_expired */
export const declineGrant = async (deps: FlowDeps, authorizationId: string): Promise<EndedFlow> => {
  const { request, session } = await requireAnswerable(deps, authorizationId)
  await giveUpGrant(deps, request.id)
  return failed('access_denied', session.return_url)
}
