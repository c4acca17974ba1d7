import { certificateEnd } from '../../gitlab/certificates.ts'
import { isWaitingCode } from '../../gitlab/owner-refusal.ts'
import { mayRotateItself } from '../../gitlab/scopes.ts'
import { adviceFor, type Hyperlink, instanceName, newTokenLink } from '../advice.ts'
import { type Avatar, avatarOf } from '../avatar.ts'
import type { Texts } from '../texts.en.ts'
import { endsSoon, type ShownTime, showTime } from '../times.ts'
import type { ListedConnection, Usage } from './queries.ts'

/** Pure: a connection as the list shows it. */

export type CardStatus = 'active' | 'troubled' | 'ending' | 'needs_reauthorization' | 'revoked' | 'expired'
/** Which colour goes with the word. */
export type Tone = 'good' | 'warning' | 'bad'

export type ConnectionCard = {
  id: string
  who: string
  username: string | undefined
  name: string | undefined
  avatar: Avatar
  organization: string
  instance: string
  baseUrl: string
  kind: string
  group: string | undefined
  status: CardStatus
  statusText: string
  tone: Tone
  /** Why it needs a person, or what troubles it, and what to do. */
  reason: string | undefined
  remedy: string | undefined
  remedyLink: Hyperlink | undefined
  /** The certificate that was given for the server ends soon, or has ended. */
  certificate: string | undefined
  expiry: ShownTime | undefined
  /** Not of a token that is dead already. */
  showsExpiry: boolean
  /** What renews the token. */
  renewal: 'refresh' | 'rotate' | undefined
  checked: ShownTime | undefined
  used: ShownTime | undefined
  usedBy: string | undefined
  inUse: boolean
  needsPerson: boolean
  canRotate: boolean
  /** The OAuth app through which it is reconnected; undefined = its token is replaced instead. */
  reconnectBy: string | undefined
}

const TONES: Record<CardStatus, Tone> = {
  active: 'good',
  troubled: 'warning',
  ending: 'warning',
  needs_reauthorization: 'bad',
  revoked: 'bad',
  expired: 'bad',
}
const NAMED_USERS = 2

const cardStatusOf = (row: ListedConnection, now: Date): CardStatus => {
  if (row.status !== 'active') return row.status
  const renews = row.refreshable || row.auto_rotate
  if (!row.refreshable && row.token_expires_at !== null && row.token_expires_at <= now) return 'expired'
  if (!renews && endsSoon(row.token_expires_at, now)) return 'ending'
  return row.failure_code === null ? 'active' : 'troubled'
}

const reasonOf = (row: ListedConnection, status: CardStatus, texts: Texts): string | undefined => {
  if (status === 'active') return undefined
  if (status === 'ending') return texts.reasons.ending
  const code =
    status === 'troubled'
      ? row.failure_code
      : (row.status_reason ?? (status === 'expired' ? 'token_expired' : null))
  const known = code !== null && Object.hasOwn(texts.reasons, code) ? texts.reasons[code] : undefined
  return known ?? row.status_detail ?? texts.status[status]
}

const certificateOf = (row: ListedConnection, now: Date, texts: Texts): string | undefined => {
  const end = certificateEnd(row.ca_certificate, now)
  if (!end || end.state === 'valid') return undefined
  const { date } = showTime(end.expiresAt, now, texts)
  return texts.connected.certificate[end.state](instanceName(row.base_url), date)
}

const remedyFor = (
  { status_reason }: ListedConnection,
  reconnectBy: string | undefined,
): 'owner' | 'reconnect' | 'replace' => {
  if (isWaitingCode(status_reason)) return 'owner'
  return reconnectBy ? 'reconnect' : 'replace'
}

/** The user behind a group or project token has a long name that nobody gave it. */
const isBot = ({ token_kind }: ListedConnection): boolean =>
  token_kind === 'group_access_token' || token_kind === 'project_access_token'

/** "nightly scanner, api and 2 more". */
const namesOf = (users: Usage[], texts: Texts): string => {
  const names = [...new Set(users.map(({ key_name }) => key_name ?? texts.connected.deletedKey))]
  const rest = names.length - NAMED_USERS
  const shown = names.slice(0, NAMED_USERS)
  return [...shown, ...(rest > 0 ? [texts.connected.others(rest)] : [])].join(texts.and)
}

export const toCard = (row: ListedConnection, usage: Usage[], now: Date, texts: Texts): ConnectionCard => {
  const who = row.gitlab_name ?? row.gitlab_username ?? texts.connected.unnamed(row.gitlab_user_id)
  const status = cardStatusOf(row, now)
  const needsPerson = !['active', 'troubled'].includes(status)
  const reconnectBy = row.method === 'oauth' ? (row.oauth_app_slug ?? undefined) : undefined
  const users = usage.filter(({ connection_id }) => connection_id === row.id)
  const holding = users.filter(({ in_use }) => in_use)
  const [latest] = users
  return {
    id: row.id,
    who,
    username: isBot(row) ? undefined : (row.gitlab_username ?? undefined),
    name: row.name ?? undefined,
    avatar: avatarOf(who),
    organization: row.organization,
    instance: instanceName(row.base_url),
    baseUrl: row.base_url,
    kind: texts.kinds[row.token_kind],
    group: row.places || undefined,
    status,
    statusText: texts.status[status],
    tone: TONES[status],
    reason: reasonOf(row, status, texts),
    remedy: needsPerson ? texts.remedies[remedyFor(row, reconnectBy)] : undefined,
    remedyLink:
      !needsPerson || reconnectBy
        ? undefined
        : isWaitingCode(row.status_reason)
          ? adviceFor('not_a_gitlab', { baseUrl: row.base_url }, texts).link
          : newTokenLink(row.base_url, [], texts),
    certificate: certificateOf(row, now, texts),
    expiry: row.token_expires_at ? showTime(row.token_expires_at, now, texts) : undefined,
    showsExpiry: status !== 'revoked' && status !== 'needs_reauthorization',
    renewal: row.refreshable ? 'refresh' : row.auto_rotate ? 'rotate' : undefined,
    checked: row.last_verified_at ? showTime(row.last_verified_at, now, texts) : undefined,
    used: latest ? showTime(latest.last_used_at, now, texts) : undefined,
    usedBy: users.length > 0 ? namesOf(holding.length > 0 ? holding : users, texts) : undefined,
    inUse: holding.length > 0,
    needsPerson,
    canRotate:
      row.method === 'token' && status !== 'revoked' && status !== 'expired' && mayRotateItself(row.scopes),
    reconnectBy,
  }
}
