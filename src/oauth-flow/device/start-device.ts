import { addSeconds } from '../../clock/clock.ts'
import { requestDeviceCodes } from '../../oauth-apps/device-grant.ts'
import { beginRequest } from '../begin-request.ts'
import type { FlowDeps } from '../flow-deps.ts'
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
  const { app, instance, id } = await beginRequest(deps, {
    slug,
    connectSessionId,
    method: 'device',
    lifetimeSeconds: STARTING_SECONDS,
    async whenLocked(transaction, session) {
      for (const earlier of await findWaitingDevices(transaction, session.id))
        await saveOutcome(transaction, earlier.id, { status: 'failed', code: 'session_expired' })
    },
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
