import { v7 as uuidv7 } from 'uuid'
import { addSeconds } from '../../clock/clock.ts'
import { requireLink } from '../../connect-sessions/find-link.ts'
import { lockSession } from '../../connect-sessions/queries.ts'
import type { ConnectSessionRow } from '../../db/tables.ts'
import { Problem } from '../../errors/problem.ts'
import { requestDeviceCodes } from '../../oauth-apps/device-grant.ts'
import { requireApp } from '../authorization-app.ts'
import type { FlowDeps } from '../flow-deps.ts'
import { insertAuthorizationRequest } from '../queries.ts'
import { requireFewStarts } from '../start-flow.ts'
import { sealCodes } from './codes.ts'
import { findWaitingDevices, saveDeviceCodes, saveOutcome } from './queries.ts'

/** Of the row before GitLab has said how long its code lives. */
const STARTING_SECONDS = 60

export type StartedDevice = { authorizationId: string; expiresAt: Date; pollSeconds: number }

/**
 * Begins the device grant (RFC 8628): GitLab issues a code that a person enters there, in any browser. The same acts as
 * for the flow with redirects come before: a form of ours, bound to a link and a browser. A second start of a link ends
 * the first.
 * @throws {Problem} session_expired, forbidden, not_found, device_grant_unsupported, gitlab_unavailable, ...
 */
export const startDevice = async (
  deps: FlowDeps,
  slug: string,
  connectSessionId: string,
): Promise<StartedDevice> => {
  const { db, vault, clock } = deps
  const { app, instance } = await requireApp(db, { slug })
  const now = new Date(clock())
  const { session } = await requireLink(db, { id: connectSessionId }, now)
  requireDevice(session)
  if (session.base_url !== null && session.base_url !== instance.base_url)
    throw new Problem('forbidden', `This link is for ${session.base_url} alone.`)
  const id = uuidv7()
  await db.transaction().execute(async (transaction) => {
    await lockSession(transaction, session.id)
    await requireFewStarts(transaction, session.id)
    for (const earlier of await findWaitingDevices(transaction, session.id))
      await saveOutcome(transaction, earlier.id, { status: 'failed', code: 'session_expired' })
    await insertAuthorizationRequest(transaction, {
      id,
      connect_session_id: session.id,
      oauth_app_id: app.id,
      created_at: now,
      expires_at: addSeconds(now, STARTING_SECONDS),
    })
  })
  const codes = await requestDeviceCodes(deps, app, instance)
  const { intervalSeconds: pollSeconds, lifetimeSeconds } = codes
  const issuedAt = new Date(clock())
  const expiresAt = addSeconds(issuedAt, lifetimeSeconds)
  const deviceJwe = await sealCodes(vault, id, codes)
  const pollAt = addSeconds(issuedAt, pollSeconds)
  await saveDeviceCodes(db, id, { deviceJwe, pollAt, pollSeconds, expiresAt })
  return { authorizationId: id, expiresAt, pollSeconds }
}

/** @throws {Problem} forbidden */
const requireDevice = ({ methods }: ConnectSessionRow): void => {
  if (!methods.includes('device')) throw new Problem('forbidden', 'This link does not allow codes.')
}
