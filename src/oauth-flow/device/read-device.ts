import type { Origin } from '../../callers/principal.ts'
import { startPatience } from '../../clock/patience.ts'
import { findSession } from '../../connect-sessions/queries.ts'
import type { ProblemCode } from '../../errors/catalogue.ts'
import { Problem } from '../../errors/problem.ts'
import { requireApp } from '../authorization-app.ts'
import type { FlowDeps } from '../flow-deps.ts'
import { type EndedFlow, type FlowEnd, failed } from '../flow-end.ts'
import { findAuthorizationRequest } from '../queries.ts'
import { openCodes } from './codes.ts'
import { pollDevice } from './poll-device.ts'

const BROWSER_PATIENCE_MS = 4_000

/** A person is to enter a code at GitLab. */
export type WaitingDevice = {
  kind: 'enter_code'
  userCode: string
  verificationUri: string
  baseUrl: string
  organization: string
  until: Date
  pollSeconds: number
}

export type DeviceState =
  | WaitingDevice
  /** GitLab has issued the tokens, and does not say yet whose they are. */
  | { kind: 'completing'; organization: string; baseUrl: string }
  | FlowEnd

/**
 * What the browser that began a device grant is shown; asks GitLab when it is time to.
 * @throws {Problem} session_expired
 */
export const readDevice = async (deps: FlowDeps, id: string, origin: Origin): Promise<DeviceState> => {
  const { db, vault } = deps
  // Goes on when the browser has gone away, as GitLab may be issuing the tokens.
  const attempt = () => pollDevice(deps, id, origin)
  await deps.attempts.run(`device ${id}`, attempt, startPatience(BROWSER_PATIENCE_MS))
  const request = await findAuthorizationRequest(db, id)
  const session = request && (await findSession(db, request.connect_session_id))
  if (!request || !session) throw new Problem('session_expired')
  const { organization, return_url: returnUrl } = session
  if (request.outcome !== null) return ended(request.outcome, returnUrl, session.id)
  const { instance } = await requireApp(db, { id: request.oauth_app_id })
  const baseUrl = instance.base_url
  if (request.device_jwe !== null) {
    const { userCode, verificationUri } = await openCodes(vault, id, request.device_jwe)
    const { expires_at: until, poll_seconds } = request
    const pollSeconds = poll_seconds ?? 0
    return { kind: 'enter_code', userCode, verificationUri, baseUrl, organization, until, pollSeconds }
  }
  if (request.grant_jwe !== null && request.confirm_until !== null)
    return request.confirm_until.getTime() > deps.clock()
      ? { kind: 'waits', authorizationId: id, until: request.confirm_until }
      : failed('session_expired', returnUrl)
  if (request.grant_jwe !== null) return { kind: 'completing', organization, baseUrl }
  // Begun and never answered, or ended by a broker that knows no outcomes.
  return failed('session_expired', returnUrl)
}

type Outcome = NonNullable<NonNullable<Awaited<ReturnType<typeof findAuthorizationRequest>>>['outcome']>

const ended = (outcome: Outcome, returnUrl: string | null, connectSessionId: string): EndedFlow => {
  if (outcome.status === 'failed') return failed(outcome.code as ProblemCode, returnUrl)
  const { connection_id: connectionId, created } = outcome
  return {
    kind: 'ended',
    result: { status: 'connected', connectionId },
    returnUrl,
    receipt: { connectionId, connectSessionId, created, issuedToUs: true },
  }
}
