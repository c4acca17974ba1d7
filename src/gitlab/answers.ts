import { type Static, type TSchema, Type } from 'typebox'
import { Value } from 'typebox/value'
import { addSeconds, startOfSecond } from '../clock/clock.ts'
import { type GranularRights, readGranularScopes } from './granular.ts'
import { readEndDate, readLifetime, readScopes } from './issued.ts'

/**
 * What of GitLab's answers is believed. Tolerant: a member that is not needed may be missing or nonsense and counts as
 * not told; a number may come as text. Strict: an account is a number, a path is a path, and no text that a list or the
 * database could not hold goes further. Pure.
 */

export const LONGEST_NAME = 255
const LONGEST_SENTENCE = 300
const LONGEST_PATH = 1_024
const MOST_PLACES = 100
const EARLIEST = Date.parse('2000-01-01T00:00:00Z')
const DAY_SECONDS = 86_400
/** Control characters, halves of pairs, and marks that turn the direction of what follows. */
const UNFIT = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu

export const AccountId = Type.Union([
  Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
  Type.String({ pattern: '^[1-9][0-9]{0,14}$' }),
])
const Flag = Type.Union([Type.Literal(true), Type.Literal('true')])
const No = Type.Union([Type.Literal(false), Type.Literal('false')])
const Username = Type.String({ pattern: '^[\\w.-]+$', maxLength: LONGEST_NAME })
const ClientId = Type.String({ pattern: '^[\\x21-\\x7e]+$', maxLength: LONGEST_NAME })
/** The characters of GitLab's paths (lib/gitlab/path_regex.rb). */
const Path = Type.String({ pattern: '^[\\w.-]+(/[\\w.-]+)*$', minLength: 1, maxLength: LONGEST_PATH })

const TokenSelf = Type.Object({ user_id: AccountId, scopes: Type.Unknown() })
const TokenInfo = Type.Object({ resource_owner_id: AccountId, scope: Type.Unknown() })
const User = Type.Object({ id: AccountId, username: Type.Unknown() })
const Application = Type.Object({ uid: ClientId })

export type Members = Record<string, unknown>

/** The value when it has the form; undefined when not. */
export const as = <Schema extends TSchema>(schema: Schema, value: unknown): Static<Schema> | undefined =>
  Value.Check(schema, value) ? (value as Static<Schema>) : undefined

/** Text for people, in one line; null when there is none. */
export const readText = (value: unknown, longest: number): string | null => {
  if (typeof value !== 'string') return null
  // Cut first: what is huge is not searched.
  const text = value.slice(0, longest).replace(UNFIT, ' ').trim()
  return text === '' ? null : text
}

/** A time between the first GitLab and tomorrow; null when there is none. */
export const readPast = (value: unknown, now: Date): Date | null => {
  const time =
    typeof value === 'number' ? value * 1000 : typeof value === 'string' ? Date.parse(value) : Number.NaN
  const latest = addSeconds(now, DAY_SECONDS).getTime()
  return time >= EARLIEST && time <= latest ? new Date(time) : null
}

export type SelfAnswer = {
  userId: string
  scopes: string[]
  /** null = it does not expire, or GitLab does not say. */
  expiresAt: Date | null
  issuedAt: Date | null
  isRevoked: boolean
  isInactive: boolean
  /** Of a fine-grained token, where GitLab tells what it may do. */
  rights: GranularRights | undefined
}

/** `GET /api/v4/personal_access_tokens/self`; undefined = no answer of a GitLab. */
export const readSelf = (body: unknown, now: Date): SelfAnswer | undefined => {
  const self = as(TokenSelf, body)
  const scopes = readScopes(self?.scopes)
  if (!self || !scopes) return undefined
  const { expires_at, created_at, active, revoked, granular_scopes } = self as Members
  return {
    userId: String(self.user_id),
    scopes,
    expiresAt: readEndDate(expires_at),
    issuedAt: readPast(created_at, now),
    isRevoked: Value.Check(Flag, revoked),
    isInactive: Value.Check(No, active),
    rights: readGranularScopes(granular_scopes),
  }
}

export type InfoAnswer = {
  userId: string
  scopes: string[]
  expiresAt: Date | null
  issuedAt: Date | null
  /** client_id of the OAuth app that the token was issued to. */
  clientId: string | null
}

/** `GET /oauth/token/info`, asked at `now`; undefined = no answer of a GitLab. */
export const readInfo = (body: unknown, now: Date): InfoAnswer | undefined => {
  const info = as(TokenInfo, body)
  const scopes = readScopes(info?.scope)
  if (!info || !scopes) return undefined
  const { expires_in, created_at, application } = info as Members
  const lifetime = readLifetime(expires_in)
  return {
    userId: String(info.resource_owner_id),
    scopes,
    expiresAt: lifetime === null ? null : addSeconds(startOfSecond(now), lifetime),
    issuedAt: readPast(created_at, now),
    clientId: as(Application, application)?.uid ?? null,
  }
}

export type UserAnswer = {
  id: string
  username: string | null
  name: string | null
  isBlocked: boolean
  /** undefined = GitLab does not say. */
  isBot: boolean | undefined
}

/** `GET /api/v4/user`; undefined = no answer of a GitLab. */
export const readUser = (body: unknown): UserAnswer | undefined => {
  const user = as(User, body)
  if (!user) return undefined
  const { username, name, state, bot } = user as Members
  return {
    id: String(user.id),
    username: as(Username, username) ?? null,
    name: readText(name, LONGEST_NAME),
    isBlocked: state === 'blocked',
    isBot: typeof bot === 'boolean' ? bot : undefined,
  }
}

/** Whether a text can be a full path at GitLab. */
export const isPath = (value: unknown): value is string =>
  Value.Check(Path, value) && !value.split('/').some((segment) => segment === '.' || segment === '..')

/** @property id null = GitLab does not say. */
export type PlaceAnswer = { id: string | null; path: string }

/** `GET /api/v4/groups/:id` or `/projects/:id`; undefined = no full path is there that can be one. */
export const readPlace = (body: unknown): PlaceAnswer | undefined => {
  if (typeof body !== 'object' || body === null) return undefined
  const { id, full_path, path_with_namespace } = body as Members
  const path = full_path ?? path_with_namespace
  const placeId = as(AccountId, id)
  return isPath(path) ? { id: placeId === undefined ? null : String(placeId), path } : undefined
}

type Association = { id: string; path: string }
export type AssociationsAnswer = {
  groups: (Association & { parentId: string | null })[]
  projects: Association[]
}

/** Groups are listed without a full path, but with their page: `https://gitlab.example.com/groups/acme/platform`. */
export const readGroupPath = ({ full_path, web_url }: Members): string | undefined => {
  const page = typeof web_url === 'string' && URL.canParse(web_url) ? new URL(web_url).pathname : ''
  const path = full_path ?? /\/groups\/(.+)$/.exec(page)?.[1]
  return isPath(path) ? path : undefined
}

/** `GET /api/v4/personal_access_tokens/self/associations`; undefined = an answer of which a part cannot be one. */
export const readAssociations = (body: unknown): AssociationsAnswer | undefined => {
  if (typeof body !== 'object' || body === null) return undefined
  const { groups, projects } = body as Members
  if (!Array.isArray(groups) || !Array.isArray(projects)) return undefined
  if (Math.max(groups.length, projects.length) > MOST_PLACES) return undefined
  const answer: AssociationsAnswer = { groups: [], projects: [] }
  for (const group of groups) {
    const id = as(AccountId, group?.id)
    const parentId = as(AccountId, group?.parent_id)
    const path = group && readGroupPath(group)
    if (id === undefined || path === undefined) return undefined
    answer.groups.push({ id: String(id), path, parentId: parentId === undefined ? null : String(parentId) })
  }
  for (const project of projects) {
    const place = readPlace(project)
    if (!place || place.id === null) return undefined
    answer.projects.push({ id: place.id, path: place.path })
  }
  return answer
}

export type ErrorAnswer = { error: string; description: string; message: string }

/** What GitLab says with a status of 400 or more; undefined = the body is no object. Texts are cut, and '' when missing. */
export const readError = (body: unknown): ErrorAnswer | undefined => {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return undefined
  const { error, error_description, message } = body as Members
  return {
    error: readText(error, LONGEST_NAME) ?? '',
    description: readText(error_description, LONGEST_SENTENCE) ?? '',
    message: readText(message, LONGEST_SENTENCE) ?? '',
  }
}
