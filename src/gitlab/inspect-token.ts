import type { TokenKind } from '../db/tables.ts'
import { readError, readInfo, readSelf, readUser, type UserAnswer } from './answers.ts'
import { type GranularRights, isFineGrained } from './granular.ts'
import type { GitLabHttpClient, GitLabResult } from './http-client.ts'
import { isIamToken, readIamClaims } from './iam-token.ts'
import { type Refusal, refusalOf, toLegacyToken } from './refusal.ts'
import { hasScope } from './scopes.ts'
import { deathOf } from './token-words.ts'

export type GitLabUser = { id: string; username: string | null; name: string | null }

/** The group or project of a bot user, by its number in the user name. */
export type BotHome = { kind: 'group' | 'project'; id: string }

/** A token as GitLab describes it. */
export type TokenFacts = {
  kind: TokenKind
  user: GitLabUser
  /** The group or project to whose bot a token belongs; undefined = to none, or GitLab does not say. */
  home?: BotHome | undefined
  scopes: string[]
  /** null = it does not expire. */
  expiresAt: Date | null
  issuedAt: Date | null
  /** client_id of the OAuth app that the token was issued to. */
  clientId: string | null
  /** Whose the token is; null = GitLab does not say. */
  accountKind: AccountKind | null
  /** What a fine-grained token may do; undefined = it is none, or GitLab does not say. */
  rights?: GranularRights | undefined
}

export type AccountKind = 'person' | 'service_account' | 'bot'

export type Inspection = { valid: true; facts: TokenFacts } | { valid: false; refusal: Refusal }

/** `group_12_bot_4fd1…`, and of older servers `project_12_bot1`. */
const BOT_USERNAME = /^(group|project)_([1-9]\d{0,14})_bot(?:\d*|_[0-9a-z]+)$/

export const homeOf = (username: string | null): BotHome | undefined => {
  const [, kind, id] = BOT_USERNAME.exec(username ?? '') ?? []
  return id === undefined || (kind !== 'group' && kind !== 'project') ? undefined : { kind, id }
}
const SELF = '/api/v4/personal_access_tokens/self'

const refused = (refusal: Refusal): Inspection => ({ valid: false, refusal })

const notAGitLab = (baseUrl: string): Inspection =>
  refused({
    code: 'not_a_gitlab',
    detail: `${baseUrl} does not answer like a GitLab API. Is the base URL complete?`,
  })

/** The body of a 200. */
const bodyOf = (answer: GitLabResult): unknown =>
  answer.kind === 'answer' && answer.status === 200 ? answer.body : undefined

/** Doorkeeper writes 64 hexadecimal digits. */
const OAUTH_TOKEN = /^[0-9a-f]{64}$/

/**
 * Asks GitLab what a token is: `/personal_access_tokens/self` (any scope is enough; group and project tokens
 * answer there too), for OAuth tokens `/oauth/token/info`, and `/user` where the scopes allow it. What the token looks
 * like says which of the two is asked first: a wrong guess is a refusal, and refusals count against us.
 */
export const inspectToken = async (
  client: GitLabHttpClient,
  token: string,
  now: Date,
  isOAuthToken = OAUTH_TOKEN.test(token) || isIamToken(token),
): Promise<Inspection> => {
  const { baseUrl } = client
  const asOAuth = isOAuthToken ? await inspectOAuthToken(client, token, now) : undefined
  if (asOAuth && (asOAuth.valid || asOAuth.refusal.code !== 'token_unknown')) return asOAuth
  const self = await client.send({ path: SELF, token })
  const isNoAccessToken = self.kind === 'answer' && self.status === 400
  const refusal = refusalOf(self, baseUrl)
  // Older servers do not know an OAuth token here: /oauth/token/info decides about it.
  if (isNoAccessToken || refusal?.code === 'token_unknown') {
    const inspection = asOAuth ?? (await inspectOAuthToken(client, token, now))
    return refusal && !inspection.valid && inspection.refusal.code === 'token_unknown'
      ? refused(refusal)
      : inspection
  }
  if (refusal?.lacksPermission) return inspectSilentToken(client, token, refusal)
  if (refusal) return refused(refusal)
  return readAccessToken(client, token, self, now)
}

/** Asks GitLab about a stored token, whose kind is known. */
export const inspectStoredToken = async (
  client: GitLabHttpClient,
  token: string,
  kind: TokenKind,
  now: Date,
): Promise<Inspection> => {
  if (kind === 'oauth_access_token') return inspectToken(client, token, now, true)
  const self = await client.send({ path: SELF, token })
  const refusal = refusalOf(self, client.baseUrl)
  if (refusal?.lacksPermission) return inspectSilentToken(client, token, refusal)
  return refusal ? refused(refusal) : readAccessToken(client, token, self, now)
}

/** A fine-grained token that may not read itself: whose it is stands in `/user`, where it may read that. */
const inspectSilentToken = async (
  client: GitLabHttpClient,
  token: string,
  refusal: Refusal,
): Promise<Inspection> => {
  const answer = await client.send({ path: '/api/v4/user', token })
  const second = refusalOf(answer, client.baseUrl)
  if (second && !second.lacksPermission) return refused(second)
  const user = readUser(bodyOf(answer))
  if (!user) return refused(refusal)
  const { id, username, name } = user
  return {
    valid: true,
    facts: {
      kind: 'personal_access_token',
      user: { id, username, name },
      accountKind: accountKindOf(user),
      scopes: ['granular'],
      expiresAt: null,
      issuedAt: null,
      clientId: null,
    },
  }
}

const readAccessToken = async (
  client: GitLabHttpClient,
  token: string,
  self: GitLabResult,
  now: Date,
): Promise<Inspection> => {
  const answer = readSelf(bodyOf(self), now)
  if (!answer) return notAGitLab(client.baseUrl)
  const { userId, scopes, expiresAt, issuedAt, rights } = answer
  if (answer.isRevoked)
    return refused({ code: 'token_revoked', detail: 'The token was revoked at GitLab. Create a new one.' })
  if (answer.isInactive)
    return refused({ code: 'token_expired', detail: 'The token has expired. Create a new one at GitLab.' })

  const owner = await findUser(client, token, scopes, userId)
  if (!owner.found) return refused(owner.refusal)
  const home = owner.accountKind === 'bot' ? homeOf(owner.user.username) : undefined
  return {
    valid: true,
    facts: {
      kind: home ? `${home.kind}_access_token` : 'personal_access_token',
      user: owner.user,
      accountKind: owner.accountKind,
      rights,
      home,
      scopes,
      expiresAt,
      issuedAt,
      clientId: null,
    },
  }
}

/**
 * What GitLab says of an OAuth access token (`GET /oauth/token/info`, doorkeeper; `/user` where the newer auth service issued it).
 * @param now the time before GitLab is asked: the token's life is counted from there.
 */
export const inspectOAuthToken = async (
  client: GitLabHttpClient,
  token: string,
  now: Date,
): Promise<Inspection> => {
  if (isIamToken(token)) return inspectIamToken(client, token, now)
  const info = await client.send({ path: '/oauth/token/info', token })
  const death = deathInfo(info)
  if (death !== undefined) {
    return refused({
      code: death,
      detail: `GitLab at ${client.baseUrl} does not know this token, or it is no longer valid.`,
    })
  }
  const refusal = refusalOf(info, client.baseUrl)
  if (refusal) return refused(refusal)
  const answer = readInfo(bodyOf(info), now)
  if (!answer) return notAGitLab(client.baseUrl)
  const { userId, scopes, expiresAt, issuedAt, clientId } = answer
  const owner = await findUser(client, token, scopes, userId)
  if (!owner.found) return refused(owner.refusal)
  return {
    valid: true,
    facts: {
      kind: 'oauth_access_token',
      user: owner.user,
      accountKind: owner.accountKind,
      scopes,
      expiresAt,
      issuedAt,
      clientId,
    },
  }
}

/** Older servers answer 400 here. Which of its words it is says little: an expired token is `invalid` too. */
const deathInfo = (info: GitLabResult): 'token_unknown' | undefined => {
  if (info.kind !== 'answer' || ![400, 401].includes(info.status)) return undefined
  const error = readError(info.body)
  return error && deathOf(error) !== undefined ? 'token_unknown' : undefined
}

/**
 * A token of the newer auth service says of itself what `/oauth/token/info` would, which refuses it. Whether it works, `/user`
 * tells: a refusal for want of scopes comes after GitLab has checked the token.
 */
const inspectIamToken = async (client: GitLabHttpClient, token: string, now: Date): Promise<Inspection> => {
  const { userId, scopes, expiresAt } = readIamClaims(token, now)
  const facts = { kind: 'oauth_access_token', scopes, expiresAt, issuedAt: null, clientId: null } as const
  const answer = await client.send({ path: '/api/v4/user', token })
  const refusal = refusalOf(answer, client.baseUrl)
  if (refusal?.code === 'missing_scopes' && userId !== undefined)
    return {
      valid: true,
      facts: { ...facts, user: { id: userId, username: null, name: null }, accountKind: null },
    }
  if (refusal) return refused(refusal)
  const user = readUser(bodyOf(answer))
  if (!user) return notAGitLab(client.baseUrl)
  const { id, username, name } = user
  return { valid: true, facts: { ...facts, user: { id, username, name }, accountKind: accountKindOf(user) } }
}

/**
 * The bot of a group or project has a user name that GitLab forms. A service account is a bot with another one. Older
 * servers do not say who is a bot.
 */
const accountKindOf = ({ username, isBot }: UserAnswer): AccountKind => {
  if (isBot !== false && BOT_USERNAME.test(username ?? '')) return 'bot'
  return isBot ? 'service_account' : 'person'
}

type Owner =
  | { found: true; user: GitLabUser; accountKind: AccountKind | null }
  | { found: false; refusal: Refusal }

const findUser = async (
  client: GitLabHttpClient,
  token: string,
  scopes: string[],
  id: string,
): Promise<Owner> => {
  const unnamed: Owner = { found: true, user: { id, username: null, name: null }, accountKind: null }
  const isGranular = isFineGrained(scopes)
  if (!isGranular && !hasScope(scopes, 'read_user')) return unnamed
  const answer = await client.send({ path: '/api/v4/user', token })
  const refusal = refusalOf(answer, client.baseUrl)
  if (refusal?.lacksPermission && !isGranular) return { found: false, refusal: toLegacyToken(refusal) }
  if (refusal?.code === 'missing_scopes') return unnamed
  if (refusal) return { found: false, refusal }
  const user = readUser(bodyOf(answer))
  // An answer about nobody, or about somebody else than the token's owner, tells nothing.
  if (user?.id !== id) return unnamed
  const { username, name, isBlocked } = user
  if (isBlocked) {
    return {
      found: false,
      refusal: { code: 'user_blocked', detail: `The account ${username ?? id} is blocked at GitLab.` },
    }
  }
  return { found: true, user: { id, username, name }, accountKind: accountKindOf(user) }
}
