import type { IncomingHttpHeaders } from 'node:http'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock/clock.ts'
import {
  banSeconds,
  isAddressBan,
  type RateLeft,
  rateLeft,
  throttleName,
  throttleScope,
  WHOLE_RATE,
} from './throttle.ts'
import type { TransportFailure } from './transport-failure.ts'

/** Anything that tells how a call to GitLab went. */
export type CallResult = {
  kind: string
  reason?: string | undefined
  status?: number | undefined
  retryAfterSeconds?: number | undefined
  body?: unknown
  text?: string | undefined
  headers?: IncomingHttpHeaders | undefined
}

export type Throttle = { name: string | null; scope: 'account' | 'address'; until: Date }
export type LastError = { at: Date; status: number | null; reason: string }

/** What one process knows of the weather at an instance: which calls are turned away, and what GitLab said last. */
export type Weather = {
  /** Why a call is not to be sent now; undefined = it may be. @param account of the token that is sent */
  turnAway(account: string | undefined): TransportFailure | undefined
  /** @param account as before */
  note(result: CallResult, account: string | undefined): void
  /** What is left of the rate limit of an account, in quarters; all of it where GitLab said nothing. */
  leftOf(account: string): number
  /** Whether GitLab has banned or paused the address: calls of every account are turned away. */
  isPaused(): boolean
  setOpen(open: boolean): void
  /** As another process was told. */
  bannedUntil(until: Date): void
  look(): {
    throttles: Throttle[]
    bannedUntil: Date | null
    circuit: 'closed' | 'open'
    lastErrors: LastError[]
  }
}

export type WeatherOptions = {
  clock: Clock
  /** Called for each 400, 401 and 403 that we caused. */
  onRefusal?: (() => void) | undefined
  onBan?: ((until: Date) => void) | undefined
}

const DEFAULT_PAUSE_SECONDS = 10
/** The longest pause that is kept: GitLab may ask for an absurd one by mistake. */
const LONGEST_PAUSE_SECONDS = 120
const KEPT_ACCOUNTS = 10_000
const KEPT_ERRORS = 10
const SHOWN_THROTTLES = 20

const notSent = (reason: 'rate_limited' | 'address_banned', waitMs: number): TransportFailure => ({
  kind: 'failure',
  reason,
  mayHaveActed: false,
  retryAfterSeconds: Math.ceil(waitMs / 1000),
})

/** Whether this answer counts against us at GitLab. */
export const isRefusal = ({ kind, status }: CallResult): boolean =>
  kind === 'refused' || status === 400 || status === 401 || status === 403

const createErrorLog = (clock: Clock) => {
  const errors: LastError[] = []
  return {
    note({ status, reason, kind }: CallResult): void {
      const isFailure = kind === 'failure' && reason !== 'overloaded' && reason !== 'rate_limited'
      if (!isFailure && !(typeof status === 'number' && (status === 429 || status >= 500))) return
      const error = { at: new Date(clock()), status: status ?? null, reason: reason ?? `answered ${status}` }
      errors.unshift(error)
      errors.length = Math.min(errors.length, KEPT_ERRORS)
    },
    all: () => [...errors],
  }
}

const createRates = (clock: Clock) => {
  const rates = new LRUCache<string, RateLeft>({ max: KEPT_ACCOUNTS })
  return {
    note({ headers }: CallResult, account: string | undefined): void {
      const rate = account === undefined ? undefined : rateLeft(headers, clock())
      if (rate && account !== undefined) rates.set(account, rate)
    },
    leftOf(account: string): number {
      const rate = rates.get(account)
      return rate && rate.until > clock() ? rate.left : WHOLE_RATE
    },
  }
}

export const createWeather = ({ clock, onRefusal, onBan }: WeatherOptions): Weather => {
  const accounts = new LRUCache<string, Throttle>({ max: KEPT_ACCOUNTS })
  const rates = createRates(clock)
  const errors = createErrorLog(clock)
  let paused: Throttle | undefined
  let banEnd = 0
  let bans = 0
  /** After a ban one call is sent first. */
  let isTrying = false
  let open = false

  const noteThrottle = (result: CallResult, account: string | undefined) => {
    const seconds = Math.min(result.retryAfterSeconds ?? DEFAULT_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    const end = clock() + seconds * 1000
    const scope = throttleScope(result.headers, result.body)
    const throttle = { name: throttleName(result.headers) ?? null, scope, until: new Date(end) }
    // A call without a token, such as a refresh, pauses by what is written of its connection.
    if (scope === 'account') {
      if (account !== undefined) accounts.set(account, throttle)
      return
    }
    if (paused === undefined || paused.until.getTime() < end) paused = throttle
  }

  const noteBan = (retryAfterSeconds: number | undefined) => {
    const end = clock() + banSeconds(retryAfterSeconds, bans) * 1000
    bans += 1
    banEnd = Math.max(banEnd, end)
    onBan?.(new Date(banEnd))
  }

  return {
    turnAway(account) {
      const now = clock()
      if (banEnd > now) return notSent('address_banned', banEnd - now)
      if (bans > 0 && isTrying) return notSent('address_banned', 1_000)
      if (paused && paused.until.getTime() > now) return notSent('rate_limited', paused.until.getTime() - now)
      const own = account === undefined ? undefined : accounts.get(account)
      if (own && own.until.getTime() > now) return notSent('rate_limited', own.until.getTime() - now)
      isTrying = bans > 0
      return undefined
    },
    note(result, account) {
      isTrying = false
      errors.note(result)
      if (result.kind === 'failure') return
      rates.note(result, account)
      const isBan =
        result.kind === 'banned' ||
        isAddressBan({ status: result.status ?? 0, body: result.body, text: result.text ?? '' })
      if (isBan) noteBan(result.retryAfterSeconds)
      else if (result.kind === 'issued' || (result.status !== undefined && result.status < 500)) bans = 0
      if (result.kind === 'rate_limited' || result.status === 429) noteThrottle(result, account)
      if (isRefusal(result) || isBan) onRefusal?.()
    },
    leftOf: (account) =>
      (accounts.get(account)?.until.getTime() ?? 0) > clock() ? 0 : rates.leftOf(account),
    isPaused: () => Math.max(banEnd, paused?.until.getTime() ?? 0) > clock(),
    setOpen(isOpen) {
      open = isOpen
    },
    bannedUntil(until) {
      if (until.getTime() <= banEnd) return
      banEnd = until.getTime()
      bans = Math.max(1, bans)
    },
    look() {
      const now = clock()
      const all = [...(paused ? [paused] : []), ...accounts.values()]
      return {
        throttles: all.filter(({ until }) => until.getTime() > now).slice(0, SHOWN_THROTTLES),
        bannedUntil: banEnd > now ? new Date(banEnd) : null,
        circuit: open ? 'open' : 'closed',
        lastErrors: errors.all(),
      }
    },
  }
}
