import { type Clock, secondsOf } from './clock.ts'
import { Refusal } from './refusal.ts'

const SECONDS_IN_MINUTE = 60

/** GitLab's 429 of Rack::Attack: a text, and headers that name the throttle. */
export const tooManyRequests = (
  now: number,
  throttle: { name: string; limitPerMinute: number; observed: number; retryAfterSeconds: number },
): Refusal => {
  const { name, limitPerMinute, observed, retryAfterSeconds } = throttle
  const reset = secondsOf(now) + retryAfterSeconds
  return new Refusal(429, 'Retry later\n', {
    'content-type': 'text/plain',
    'ratelimit-limit': String(limitPerMinute),
    'ratelimit-name': name,
    'ratelimit-observed': String(observed),
    'ratelimit-remaining': '0',
    'ratelimit-reset': String(reset),
    'ratelimit-resettime': new Date(reset * 1000).toUTCString(),
    'retry-after': String(retryAfterSeconds),
  })
}

/** Limits by account: whoever is over the limit is refused, whichever token is used, and nobody else. */
export const createThrottles = (clock: Clock) => {
  const until = new Map<string, number>()
  return {
    /** Refuses all API calls of an account for so long. */
    throttleAccount(username: string, seconds: number): void {
      until.set(username, clock.now() + seconds * 1000)
    },
    count(username: string): void {
      const end = until.get(username) ?? 0
      const now = clock.now()
      if (end <= now) return
      const limitPerMinute = 2000
      const retryAfterSeconds = Math.min(SECONDS_IN_MINUTE, Math.ceil((end - now) / 1000))
      const name = 'throttle_authenticated_api'
      throw tooManyRequests(now, { name, limitPerMinute, observed: limitPerMinute + 1, retryAfterSeconds })
    },
  }
}
