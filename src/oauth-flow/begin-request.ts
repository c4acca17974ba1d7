import { v7 as uuidv7 } from 'uuid'
import { addSeconds } from '../clock/clock.ts'
import { linkProblem, requireLink } from '../connect-sessions/find-link.ts'
import { lockSession } from '../connect-sessions/queries.ts'
import type { Database } from '../db/database.ts'
import type { ConnectSessionRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { type AppAndInstance, requireApp } from './authorization-app.ts'
import type { FlowDeps } from './flow-deps.ts'
import { countAuthorizationRequests, insertAuthorizationRequest } from './queries.ts'

/** A person needs a few tries; a program that has found a link needs many. */
const MOST_STARTS = 20

type Beginning = {
  slug: string
  connectSessionId: string
  method: 'oauth' | 'device'
  lifetimeSeconds: number
  /** In the transaction that has locked the session. */
  whenLocked?: (transaction: Database, session: ConnectSessionRow) => Promise<void>
}

export type BegunRequest = AppAndInstance & { id: string; session: ConnectSessionRow }

/**
 * Begins a request for authorization at GitLab: checks what the link allows, and notes the request.
 * @throws {Problem} session_expired, forbidden, not_found
 */
export const beginRequest = async (
  { db, clock }: Pick<FlowDeps, 'db' | 'clock'>,
  { slug, connectSessionId, method, lifetimeSeconds, whenLocked }: Beginning,
): Promise<BegunRequest> => {
  const { app, instance } = await requireApp(db, { slug })
  const now = new Date(clock())
  const { session } = await requireLink(db, { id: connectSessionId }, now)
  requireMethod(session, method)
  if (session.base_url !== null && session.base_url !== instance.base_url)
    throw new Problem('forbidden', `This link is for ${session.base_url} alone.`)
  const id = uuidv7()
  await db.transaction().execute(async (transaction) => {
    await lockSession(transaction, session.id)
    if ((await countAuthorizationRequests(transaction, session.id)) >= MOST_STARTS)
      throw linkProblem('tried_too_often')
    await whenLocked?.(transaction, session)
    await insertAuthorizationRequest(transaction, {
      id,
      connect_session_id: session.id,
      oauth_app_id: app.id,
      created_at: now,
      expires_at: addSeconds(now, lifetimeSeconds),
    })
  })
  return { app, instance, session, id }
}

const WAYS = { oauth: 'OAuth', device: 'codes' }

/** @throws {Problem} forbidden */
export const requireMethod = ({ methods }: ConnectSessionRow, method: Beginning['method']): void => {
  if (!methods.includes(method)) throw new Problem('forbidden', `This link does not allow ${WAYS[method]}.`)
}
