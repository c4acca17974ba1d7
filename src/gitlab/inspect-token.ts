import { addSeconds, startOfSecond } from '../clock/clock.ts'
import type { TokenKind } from '../db/tables.ts'
import type { GitLabHttpClient } from './http-client.ts'
import { type Refusal, refusalOf } from './refusal.ts'
import { hasScope } from './scopes.ts'

export type GitLabUser = { id: string; username: string | null; name: string | null; webUrl: string | null }

/** A token as GitLab describes it. */
export type TokenFacts = {
  kind: TokenKind
  user: GitLabUser
  scopes: string[]
  /** null = it does not expire. */
  expiresAt: Date | null
  issuedAt: Date | null
  /** client_id of the OAuth app that the token was issued to. */
  clientId: string | null
}

export type Inspection = { valid: true; facts: TokenFacts } | { valid: false; refusal: Refusal }

type SelfAnswer = {
  user_id: number
  scopes: string[]
  expires_at: string | null
  created_at: string
  active?: boolean
  revoked?: boolean
}
type TokenInfoAnswer = {
  resource_owner_id: number
  scope: string[]
  expires_in: number | null
  created_at: number
  application: { uid: string } | null
}
type UserAnswer = { id: number; username: string; name: string; web_url?: string; state?: string }

const BOT_USERNAME = /^(group|project)_\d+_bot/

/** An access token's date is the first instant at which it no longer works: 00:00 UTC on that day. */
export const endOfLife = (date: string | null): Date | null =>
  date === null ? null : new Date(`${date}T00:00:00Z`)

const refused = (refusal: Refusal): Inspection => ({ valid: false, refusal })

const isObjectWith = <T>(body: unknown, ...keys: (keyof T & string)[]): body is T =>
  typeof body === 'object' && body !== null && keys.every((key) => key in body)

/**
 * Asks GitLab what a token is: `/personal_access_tokens/self` (any scope is enough; group and project tokens
 * answer there too), for OAuth tokens `/oauth/token/info`, and `/user` where the scopes allow it.
 */
export const inspectToken = async (
  client: GitLabHttpClient,
  token: string,
  now: Date,
): Promise<Inspection> => {
  const { baseUrl } = client
  const self = await client.send({ path: '/api/v4/personal_access_tokens/self', token })
  const isOAuthToken = self.kind === 'answer' && self.status === 400
  const refusal = refusalOf(self, baseUrl)
  // Older servers do not know an OAuth token here: /oauth/token/info decides about it.
  if (isOAuthToken || refusal?.code === 'token_unknown') {
    const inspection = await inspectOAuthToken(client, token, now)
    return refusal && !inspection.valid && inspection.refusal.code === 'token_unknown'
      ? refused(refusal)
      : inspection
  }
  if (refusal) return refused(refusal)
  if (
    self.kind === 'failure' ||
    self.status !== 200 ||
    !isObjectWith<SelfAnswer>(self.body, 'user_id', 'scopes')
  ) {
    return refused({
      code: 'not_a_gitlab',
      detail: `${baseUrl} does not answer like a GitLab API. Is the base URL complete?`,
    })
  }
  const { user_id, scopes, expires_at, created_at, active, revoked } = self.body
  if (revoked === true)
    return refused({ code: 'token_revoked', detail: 'The token was revoked at GitLab. Create a new one.' })
  if (active === false)
    return refused({ code: 'token_expired', detail: 'The token has expired. Create a new one at GitLab.' })

  const owner = await findUser(client, token, scopes, String(user_id))
  if (!owner.found) return refused(owner.refusal)
  const [, botOf] = BOT_USERNAME.exec(owner.user.username ?? '') ?? []
  return {
    valid: true,
    facts: {
      kind: botOf === 'group' || botOf === 'project' ? `${botOf}_access_token` : 'personal_access_token',
      user: owner.user,
      scopes,
      expiresAt: endOfLife(expires_at),
      issuedAt: created_at ? new Date(created_at) : null,
      clientId: null,
    },
  }
}

/**
 * What GitLab says of an OAuth access token (`GET /oauth/token/info`, doorkeeper).
 * @param now the time before GitLab is asked: the token's life is counted from there.
 */
export const inspectOAuthToken = async (
  client: GitLabHttpClient,
  token: string,
  now: Date,
): Promise<Inspection> => {
  const info = await client.send({ path: '/oauth/token/info', token })
  if (
    info.kind === 'answer' &&
    [400, 401].includes(info.status) &&
    isObjectWith<{ error: unknown }>(info.body, 'error')
  ) {
    return refused({
      code: 'token_unknown',
      detail: `GitLab at ${client.baseUrl} does not know this token, or it is no longer valid.`,
    })
  }
  const refusal = refusalOf(info, client.baseUrl)
  if (refusal) return refused(refusal)
  if (
    info.kind === 'failure' ||
    info.status !== 200 ||
    !isObjectWith<TokenInfoAnswer>(info.body, 'resource_owner_id', 'scope')
  ) {
    return refused({
      code: 'not_a_gitlab',
      detail: `${client.baseUrl} does not answer like a GitLab. Is the base URL complete?`,
    })
  }
  const { resource_owner_id, scope, expires_in, created_at, application } = info.body
  const owner = await findUser(client, token, scope, String(resource_owner_id))
  if (!owner.found) return refused(owner.refusal)
  return {
    valid: true,
    facts: {
      kind: 'oauth_access_token',
      user: owner.user,
      scopes: scope,
      expiresAt: typeof expires_in === 'number' ? addSeconds(startOfSecond(now), expires_in) : null,
      issuedAt: typeof created_at === 'number' ? new Date(created_at * 1000) : null,
      clientId: application?.uid ?? null,
    },
  }
}

type Owner = { found: true; user: GitLabUser } | { found: false; refusal: Refusal }

const findUser = async (
  client: GitLabHttpClient,
  token: string,
  scopes: string[],
  id: string,
): Promise<Owner> => {
  const unnamed: Owner = { found: true, user: { id, username: null, name: null, webUrl: null } }
  if (!hasScope(scopes, 'read_user')) return unnamed
  const answer = await client.send({ path: '/api/v4/user', token })
  const refusal = refusalOf(answer, client.baseUrl)
  if (refusal?.code === 'missing_scopes') return unnamed
  if (refusal) return { found: false, refusal }
  if (answer.kind === 'failure' || !isObjectWith<UserAnswer>(answer.body, 'id', 'username')) return unnamed
  const { username, name, web_url, state } = answer.body
  if (state === 'blocked') {
    return {
      found: false,
      refusal: { code: 'user_blocked', detail: `The account ${username} is blocked at GitLab.` },
    }
  }
  return {
    found: true,
    user: { id: String(answer.body.id), username, name: name ?? null, webUrl: web_url ?? null },
  }
}
