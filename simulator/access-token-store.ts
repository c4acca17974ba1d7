import { randomBytes } from 'node:crypto'
import { type Clock, DAY_IN_MS, dateOf } from './clock.ts'
import type { EventLog } from './events.ts'
import type { GranularScope } from './granular.ts'
import type { People, User } from './people.ts'
import { ACCESS_TOKEN_SCOPES, includesAll } from './scopes.ts'

/** A personal, group or project access token; the last two belong to bot users. */
export type AccessToken = {
  id: number
  kind: 'personal' | 'group' | 'project'
  token: string
  name: string
  user: User
  scopes: string[]
  createdAt: number
  lastUsedAt: number | undefined
  /** `YYYY-MM-DD`, or null for a token that never expires. */
  expiresAt: string | null
  revoked: boolean
  grantId: string
  generation: number
  /** Of a fine-grained token, whose scopes are `granular` and nothing else. */
  granular: GranularScope[] | undefined
}

export type NewAccessToken = {
  kind: AccessToken['kind']
  /** Of a personal access token. */
  username?: string
  /** Full path of the group or project of the other kinds. */
  path?: string
  scopes: string[]
  /** Missing = 365 days from now, which is also GitLab's limit. */
  expiresAt?: string | null
  name?: string
  granular?: GranularScope[]
  /** The bot is named as by an older GitLab. */
  oldBotName?: boolean
}

export const MAXIMUM_LIFETIME_IN_DAYS = 365

// The form of a classic GitLab token (20 characters after the prefix), with a word that shows it opens nothing.
const newSecret = () => `glpat-FAKE-${randomBytes(12).toString('base64url').slice(0, 15)}`

const ownerOf = (
  people: People,
  { kind, username, path, name = 'simulator', oldBotName = false }: NewAccessToken,
): User => {
  if (kind === 'personal') {
    if (username === undefined) throw new Error('a personal access token needs a username')
    return people.user(username)
  }
  const place = kind === 'group' ? people.findGroup(path ?? '') : people.findProject(path ?? '')
  if (!place) throw new Error(`there is no ${kind} ${path}`)
  return people.addBot(place, name, { isOld: oldBotName })
}

export const createAccessTokenStore = (clock: Clock, events: EventLog, people: People) => {
  const byToken = new Map<string, AccessToken>()
  const families = new Map<string, AccessToken[]>()
  let lastId = 0

  const dateAfterDays = (days: number) => dateOf(clock.now() + days * DAY_IN_MS)

  const save = (
    wanted: Omit<AccessToken, 'id' | 'token' | 'createdAt' | 'lastUsedAt' | 'revoked'>,
  ): AccessToken => {
    const id = ++lastId
    const token: AccessToken = {
      ...wanted,
      id,
      token: newSecret(),
      createdAt: clock.now(),
      lastUsedAt: undefined,
      revoked: false,
    }
    byToken.set(token.token, token)
    families.set(token.grantId, [...(families.get(token.grantId) ?? []), token])
    return token
  }

  const revoke = (token: AccessToken, reason: string) => {
    if (token.revoked) return
    token.revoked = true
    events.record('revoked', token.kind, token, reason)
  }

  // A token dies at the start of its day, not at the end.
  const isExpired = (token: AccessToken): boolean =>
    token.expiresAt !== null && clock.now() >= Date.parse(`${token.expiresAt}T00:00:00Z`)

  return {
    create(wanted: NewAccessToken): AccessToken {
      const { kind, scopes, granular, name = 'simulator' } = wanted
      if (!granular && !includesAll(ACCESS_TOKEN_SCOPES, scopes))
        throw new Error(`unknown scope in ${scopes.join(' ')}`)
      const { expiresAt = dateAfterDays(MAXIMUM_LIFETIME_IN_DAYS) } = wanted
      if (expiresAt !== null && Number.isNaN(Date.parse(expiresAt)))
        throw new Error(`${expiresAt} is no date`)
      const grantId = events.newGrantId()
      const token = save({
        kind,
        name,
        user: ownerOf(people, wanted),
        scopes: granular ? ['granular'] : [...scopes],
        expiresAt,
        grantId,
        generation: 1,
        granular,
      })
      events.record('issued', kind, token)
      return token
    },
    find: (token: string) => byToken.get(token),
    all: () => byToken.values(),
    isExpired,
    isActive: (token: AccessToken) => !token.revoked && !isExpired(token),
    dateAfterDays,
    touch(token: AccessToken) {
      token.lastUsedAt = clock.now()
    },
    rotate(old: AccessToken, expiresAt: string): AccessToken {
      old.revoked = true
      const token = save({ ...old, expiresAt, generation: old.generation + 1 })
      events.record('rotated', old.kind, token)
      return token
    },
    revoke,
    /** GitLab takes a rotated token that is rotated again for a stolen one, and kills what lives of its family. */
    revokeFamily(replayed: AccessToken) {
      if (families.get(replayed.grantId)?.at(-1) === replayed) return
      events.record('replay_of_rotated_access_token', replayed.kind, replayed)
      for (const token of families.get(replayed.grantId) ?? []) revoke(token, 'reuse_detected')
    },
  }
}
