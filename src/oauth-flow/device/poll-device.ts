import { setTimeout as pause } from 'node:timers/promises'
import type { Origin } from '../../callers/principal.ts'
import { addSeconds } from '../../clock/clock.ts'
import { findLink } from '../../connect-sessions/find-link.ts'
import { isDatabaseUnavailable } from '../../db/database.ts'
import type { AuthorizationRequestRow } from '../../db/tables.ts'
import { Problem } from '../../errors/problem.ts'
import { pollForTokens } from '../../oauth-apps/device-grant.ts'
import { revokeToken } from '../../oauth-apps/revoke-token.ts'
import type { TokenSet } from '../../oauth-apps/token-answer.ts'
import { VaultError } from '../../vault/vault.ts'
import { type AppAndInstance, requireApp } from '../authorization-app.ts'
import { type Completion, completeGrant } from '../complete-grant.ts'
import type { FlowDeps } from '../flow-deps.ts'
import { sealGrant, toStoredGrant } from '../kept-grant.ts'
import { openCodes } from './codes.ts'
import { claimPoll, saveDeviceGrant, saveOutcome, savePoll } from './queries.ts'

/** Longer than an answer with tokens may take: nobody else asks meanwhile. */
const CLAIM_SECONDS = 400
/** RFC 8628, section 3.5. */
const SLOWER_SECONDS = 5
/** A code may be entered in its last second. */
const LATE_SECONDS = 15

/**
 * Asks GitLab whether the person has entered the code, when it is time to: the browser that waits, a timer of any
 * replica, and background work may all call this, and one of them asks. No connection is held meanwhile. What GitLab
 * issues is saved before anything else is asked, and completed like any other grant.
 */
export const pollDevice = async (deps: FlowDeps, id: string, origin: Origin): Promise<void> => {
  const { db, vault, clock } = deps
  const now = new Date(clock())
  const request = await claimPoll(db, id, now, addSeconds(now, CLAIM_SECONDS))
  if (!request?.device_jwe) return
  const end = (code: string) => saveOutcome(db, id, { status: 'failed', code })
  const { ended } = await findLink(db, { id: request.connect_session_id }, now)
  if (ended !== undefined && ended !== 'expired') return end('session_expired')
  if (addSeconds(request.expires_at, LATE_SECONDS) <= now) return end('device_code_expired')
  const seconds = request.poll_seconds ?? SLOWER_SECONDS
  const askAgain = (after: number, every = seconds) =>
    savePoll(db, id, addSeconds(new Date(clock()), after), every)
  try {
    const found = await requireApp(db, { id: request.oauth_app_id })
    const { deviceCode } = await openCodes(vault, id, request.device_jwe)
    const sentAt = new Date(clock())
    const answer = await pollForTokens(deps, found.app, found.instance, deviceCode)
    switch (answer.kind) {
      case 'issued':
        return await keepAndComplete(deps, request, { found, tokenSet: answer.tokenSet, sentAt, origin })
      case 'pending':
        return await askAgain(seconds)
      case 'slow_down':
        return await askAgain(seconds + SLOWER_SECONDS, seconds + SLOWER_SECONDS)
      case 'no_answer':
        return await askAgain(Math.max(seconds, answer.retryAfterSeconds ?? 0))
      case 'ended':
        return await end(answer.code)
    }
  } catch (error) {
    if (error instanceof VaultError) return end('internal_error')
    await askAgain(seconds).catch(() => undefined)
    throw error
  }
}

type Issued = { found: AppAndInstance; tokenSet: TokenSet; sentAt: Date; origin: Origin }

/** The answer exists nowhere else: a restart of the database takes seconds. */
const SAVE_PAUSES_MS = [100, 250, 500, 1_000, 2_000, 4_000, 8_000]

const saveThroughOutage = async (save: () => Promise<void>): Promise<void> => {
  for (const pauseMs of SAVE_PAUSES_MS) {
    try {
      return await save()
    } catch (error) {
      if (!isDatabaseUnavailable(error)) throw error
      await pause(pauseMs, undefined, { ref: false })
    }
  }
  await save()
}

const keepAndComplete = async (
  deps: FlowDeps,
  request: AuthorizationRequestRow,
  { found, tokenSet, sentAt, origin }: Issued,
): Promise<void> => {
  const { db, vault, clock } = deps
  const now = new Date(clock())
  const grantJwe = await sealGrant(vault, request, toStoredGrant(tokenSet, sentAt))
  try {
    await saveThroughOutage(() => saveDeviceGrant(db, request.id, grantJwe, now))
  } catch (error) {
    // Nobody will know the tokens: better that GitLab does not, either. The person starts again.
    const revocation = await revokeToken(deps, found.app, found.instance, tokenSet.accessToken).catch(
      () => undefined,
    )
    deps.logger.warn(
      { authorization_request: request.id, revoked: revocation?.revoked ?? false },
      'a device grant could not be saved',
    )
    throw error
  }
  const kept = { ...request, grant_jwe: grantJwe, granted_at: now }
  await completeAndTell(deps, request.id, () =>
    completeGrant(deps, kept, found, origin, { saidYes: false }),
  ).catch((error: unknown) => {
    // Told to the browser by what is stored; what GitLab did not say yet, background work asks again.
    if (!(error instanceof Problem)) throw error
  })
}

/** Completes a grant, and writes down how it came out for the browser that waits, if one does. */
export const completeAndTell = async (
  { db }: FlowDeps,
  id: string,
  complete: () => Promise<Completion | undefined>,
): Promise<void> => {
  try {
    const completion = await complete()
    if (completion?.kind === 'connected') {
      const { id: connection_id, created } = completion.connection
      await saveOutcome(db, id, { status: 'connected', connection_id, created })
    }
  } catch (error) {
    if (error instanceof Problem && error.code !== 'gitlab_unavailable')
      await saveOutcome(db, id, { status: 'failed', code: error.code })
    throw error
  }
}
