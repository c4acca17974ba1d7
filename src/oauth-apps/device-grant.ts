import type { InstanceRow, OAuthAppRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { readError } from '../gitlab/answers.ts'
import type { GitLabResult } from '../gitlab/http-client.ts'
import { refusalOf, refusalProblem } from '../gitlab/refusal.ts'
import type { InstanceClients } from '../instances/instance-clients.ts'
import type { Vault } from '../vault/vault.ts'
import { openClientSecret } from './save-oauth-app.ts'
import { readTokenSet, type TokenSet } from './token-answer.ts'

/** The device authorization grant (RFC 8628), which GitLab has since 17.9: for a GitLab that cannot redirect to us. */

const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code'
const DEFAULT_INTERVAL_SECONDS = 5
const LONGEST_INTERVAL_SECONDS = 60
const DEFAULT_LIFETIME_SECONDS = 300
const LONGEST_LIFETIME_SECONDS = 1_800
const DEVICE_CODE = /^[\x21-\x7e]{8,2048}$/
/** What a person can read and type. */
const USER_CODE = /^[A-Za-z0-9][A-Za-z0-9 -]{2,30}[A-Za-z0-9]$/

export type DeviceCodes = {
  deviceCode: string
  userCode: string
  /** At the instance itself: where a person enters the user code. */
  verificationUri: string
  lifetimeSeconds: number
  intervalSeconds: number
}

/** RFC 8628, section 3.5. */
export type DevicePoll =
  | { kind: 'issued'; tokenSet: TokenSet }
  | { kind: 'pending' }
  | { kind: 'slow_down' }
  | { kind: 'ended'; code: 'access_denied' | 'device_code_expired' | 'code_refused' | 'oauth_app_rejected' }
  /** GitLab did not say. */
  | { kind: 'no_answer'; retryAfterSeconds: number | undefined }

type Deps = { vault: Vault; instanceClients: InstanceClients }

const within = (value: unknown, fallback: number, longest: number): number =>
  typeof value === 'number' && value >= 1 ? Math.min(Math.ceil(value), longest) : fallback

/** @returns the address when it is a page of this instance: nobody is sent elsewhere to enter a code. */
const ownPage = (uri: unknown, baseUrl: string): string | undefined => {
  const url = typeof uri === 'string' ? URL.parse(uri) : null
  if (!url || url.origin !== new URL(baseUrl).origin || url.username || url.password) return undefined
  return url.href
}

/** @throws {Problem} device_grant_unsupported, oauth_app_rejected, not_a_gitlab, gitlab_unavailable, ... */
export const requestDeviceCodes = async (
  { instanceClients }: Deps,
  app: OAuthAppRow,
  instance: InstanceRow,
): Promise<DeviceCodes> => {
  const { base_url } = instance
  const answer = await instanceClients.for(instance).send({
    method: 'POST',
    path: '/oauth/authorize_device',
    form: { client_id: app.client_id, scope: app.scopes.join(' ') },
  })
  if (answer.kind !== 'answer' || answer.status !== 200) throw whyNone(answer, base_url)
  const body = (answer.body ?? {}) as Record<string, unknown>
  const { device_code, user_code, verification_uri, expires_in, interval } = body
  const verificationUri = ownPage(verification_uri, base_url)
  if (
    typeof device_code !== 'string' ||
    !DEVICE_CODE.test(device_code) ||
    typeof user_code !== 'string' ||
    !USER_CODE.test(user_code) ||
    verificationUri === undefined
  )
    throw new Problem('not_a_gitlab', `${base_url} answers with no code that can be entered at itself.`)
  return {
    deviceCode: device_code,
    userCode: user_code,
    verificationUri,
    lifetimeSeconds: within(expires_in, DEFAULT_LIFETIME_SECONDS, LONGEST_LIFETIME_SECONDS),
    intervalSeconds: within(interval, DEFAULT_INTERVAL_SECONDS, LONGEST_INTERVAL_SECONDS),
  }
}

const whyNone = (answer: GitLabResult, baseUrl: string): Problem => {
  if (answer.kind === 'answer') {
    if (answer.status === 404) return new Problem('device_grant_unsupported')
    const { error = '' } = readError(answer.body) ?? {}
    if (error === 'invalid_client' || error === 'unauthorized_client')
      return new Problem('oauth_app_rejected')
    if (error === 'invalid_scope' || error === 'invalid_request') return new Problem('authorization_failed')
  }
  const refusal = refusalOf(answer, baseUrl)
  const isUsual = refusal?.code !== 'token_unknown' && refusal?.code !== 'missing_scopes'
  return refusal && isUsual ? refusalProblem(refusal) : new Problem('authorization_failed')
}

const ENDS: Record<string, Extract<DevicePoll, { kind: 'ended' }>['code']> = {
  access_denied: 'access_denied',
  expired_token: 'device_code_expired',
  invalid_grant: 'code_refused',
  invalid_client: 'oauth_app_rejected',
  unauthorized_client: 'oauth_app_rejected',
}

/** Asks once whether the person has said yes. */
export const pollForTokens = async (
  { vault, instanceClients }: Deps,
  app: OAuthAppRow,
  instance: InstanceRow,
  deviceCode: string,
): Promise<DevicePoll> => {
  const answer = await instanceClients.for(instance).send({
    method: 'POST',
    path: '/oauth/token',
    form: { grant_type: DEVICE_GRANT, device_code: deviceCode },
    basicAuth: { username: app.client_id, password: await openClientSecret(vault, app) },
    issuesToken: true,
  })
  if (answer.kind === 'failure') return { kind: 'no_answer', retryAfterSeconds: answer.retryAfterSeconds }
  if (answer.status >= 200 && answer.status < 300) {
    const issued = readTokenSet(answer.body)
    return issued.kind === 'issued' ? issued : { kind: 'no_answer', retryAfterSeconds: undefined }
  }
  const { error = '' } = readError(answer.body) ?? {}
  if (error === 'authorization_pending') return { kind: 'pending' }
  if (error === 'slow_down') return { kind: 'slow_down' }
  const code = answer.status < 500 && Object.hasOwn(ENDS, error) ? ENDS[error] : undefined
  return code ? { kind: 'ended', code } : { kind: 'no_answer', retryAfterSeconds: answer.retryAfterSeconds }
}
