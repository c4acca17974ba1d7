import { createHash } from 'node:crypto'
import type { Test } from 'tap'
import { approve } from '../../simulator/browser.ts'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { type Simulator, type SimulatorOptions, startSimulator } from '../../simulator/simulator.ts'

export const CALLBACK = 'http://127.0.0.1:45678/oauth/simulator/callback'
export const VERIFIER = 'a-verifier-that-is-long-enough-for-rfc-7636-to-take-it'
export const CHALLENGE = createHash('sha256').update(VERIFIER).digest('base64url')

export type Answer = { status: number; headers: Headers; text: string; json: Record<string, unknown> }

/** A simulator for one test. Its clock stands at noon of a day in May 2030 until the test moves it. */
export const startGitLab = async (t: Test, options: SimulatorOptions = {}): Promise<Simulator> => {
  const simulator = await startSimulator({
    now: () => Date.UTC(2030, 4, 10, 12),
    repositories: false,
    ...options,
  })
  t.teardown(() => simulator.close())
  return simulator
}

const answerOf = async (response: Response): Promise<Answer> => {
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') ?? false
  return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : {} }
}

export const call = async (url: string, init: RequestInit = {}): Promise<Answer> =>
  answerOf(await fetch(url, { redirect: 'manual', ...init }))

export const asBearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
export const asPrivateToken = (token: string) => ({ headers: { 'private-token': token } })

export const basic = (name: string, secret: string) => ({
  authorization: `Basic ${Buffer.from(`${name}:${secret}`).toString('base64')}`,
})

const CLIENT = { client_id: SEEDED_APP.clientId, client_secret: SEEDED_APP.clientSecret }

/** Posts to the token endpoint as the seeded app; `undefined` leaves a parameter out. */
export const postToken = (
  { url }: Simulator,
  parameters: Record<string, string | undefined>,
  headers: Record<string, string> = {},
): Promise<Answer> => {
  const given = Object.entries({ ...CLIENT, ...parameters }).filter(
    (entry): entry is [string, string] => !!entry[1],
  )
  return call(`${url}/oauth/token`, { method: 'POST', body: new URLSearchParams(given), headers })
}

export const refresh = (
  simulator: Simulator,
  refreshToken: string,
  more: Record<string, string | undefined> = {},
) => postToken(simulator, { grant_type: 'refresh_token', refresh_token: refreshToken, ...more })

export const authorizeUrl = (
  { url }: Simulator,
  changes: Record<string, string | undefined> = {},
): string => {
  const parameters = {
    client_id: SEEDED_APP.clientId,
    redirect_uri: CALLBACK,
    response_type: 'code',
    scope: 'read_api read_user',
    state: 'a-state',
    code_challenge: CHALLENGE,
    code_challenge_method: 'S256',
    ...changes,
  }
  const query = Object.entries(parameters).filter((entry): entry is [string, string] => !!entry[1])
  return `${url}/oauth/authorize?${new URLSearchParams(query)}`
}

export const getCode = async (simulator: Simulator, changes: Record<string, string | undefined> = {}) => {
  const back = await approve(authorizeUrl(simulator, changes), { username: 'maria' })
  return new URL(back).searchParams.get('code') ?? ''
}

export const exchange = (
  simulator: Simulator,
  code: string,
  changes: Record<string, string | undefined> = {},
) =>
  postToken(simulator, {
    grant_type: 'authorization_code',
    code,
    redirect_uri: CALLBACK,
    code_verifier: VERIFIER,
    ...changes,
  })

export const grantTo = (simulator: Simulator, username = 'maria', scopes = ['read_api', 'read_repository']) =>
  simulator.world.issueOAuthToken({ username, clientId: SEEDED_APP.clientId, scopes })

export const INVALID_GRANT = {
  error: 'invalid_grant',
  error_description:
    'The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.',
}
export const INVALID_CLIENT = {
  error: 'invalid_client',
  error_description:
    'Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method.',
}
export const EXPIRED = {
  error: 'invalid_token',
  error_description: 'Token is expired. You can either do re-authorization or token refresh.',
}
export const REVOKED = {
  error: 'invalid_token',
  error_description: 'Token was revoked. You have to re-authorize from the user.',
}
