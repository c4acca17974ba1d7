import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { v7 as uuidv7 } from 'uuid'
import { addSeconds } from '../clock/clock.ts'
import { linkProblem, requireLink } from '../connect-sessions/find-link.ts'
import { lockSession } from '../connect-sessions/queries.ts'
import type { Database } from '../db/database.ts'
import type { ConnectSessionRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { requireApp, stateBinding } from './authorization-app.ts'
import type { FlowDeps } from './flow-deps.ts'
import { countAuthorizationRequests, insertAuthorizationRequest } from './queries.ts'

const FLOW_SECONDS = 600
/** A person needs a few tries; a program that has found a link needs many. */
const MOST_STARTS = 20
const FLOW_NAME_LENGTH = 12

/**
 * Begins the authorization code flow (RFC 6749, section 4.1) with PKCE (RFC 7636). Only for a request that one of our
 * own forms has sent: GitLab skips its question for who has consented before, so whoever starts a flow in a browser
 * connects the account that is signed in there.
 * @returns the URL at GitLab to which the browser goes.
 * @throws {Problem} session_expired, forbidden, not_found
 */
export const startFlow = async (
  deps: FlowDeps,
  slug: string,
  connectSessionId: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<string> => {
  const { db, vault, clock, oauthClients } = deps
  const { app, instance } = await requireApp(db, { slug })
  const now = new Date(clock())
  const { session } = await requireLink(db, { id: connectSessionId }, now)
  requireOAuth(session)
  if (session.base_url !== null && session.base_url !== instance.base_url)
    throw new Problem('forbidden', `This link is for ${session.base_url} alone.`)
  const id = uuidv7()
  await db.transaction().execute(async (transaction) => {
    await lockSession(transaction, session.id)
    await requireFewStarts(transaction, session.id)
    await insertAuthorizationRequest(transaction, {
      id,
      connect_session_id: session.id,
      oauth_app_id: app.id,
      created_at: now,
      expires_at: addSeconds(now, FLOW_SECONDS),
    })
  })
  const state = await vault.seal(id, stateBinding(app))
  const client = await oauthClients.for(app, instance)
  return client.authorizationUrl(request, reply, { state, flow: nameFlow(session) })
}

/** For the transaction that has locked the session. @throws {Problem} session_expired */
export const requireFewStarts = async (transaction: Database, connectSessionId: string): Promise<void> => {
  if ((await countAuthorizationRequests(transaction, connectSessionId)) >= MOST_STARTS)
    throw linkProblem('tried_too_often')
}

/** @throws {Problem} forbidden */
export const requireOAuth = ({ methods }: ConnectSessionRow): void => {
  if (!methods.includes('oauth')) throw new Problem('forbidden', 'This link does not allow OAuth.')
}

/**
 * A name for the cookies of a flow. Flows for different organizations go on side by side in one browser. A second
 * flow for the same organization takes the place of the first, so that cookies do not pile up.
 */
export const nameFlow = ({ organization, access_key_id }: ConnectSessionRow): string =>
  createHash('sha256').update(`${access_key_id} ${organization}`).digest('hex').slice(0, FLOW_NAME_LENGTH)
