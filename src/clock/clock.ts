/** The current time in milliseconds since the epoch. All code that needs the time is given a Clock. */
export type Clock = () => number

export const systemClock: Clock = () => Date.now()

export const addSeconds = (time: Date, seconds: number): Date => new Date(time.getTime() + seconds * 1000)

/** Whole seconds until a time, rounded down: for the rest of a token's life. */
export const secondsUntil = (time: Date, now: Date): number =>
  Math.floor((time.getTime() - now.getTime()) / 1000)

/**
 * GitLab counts the life of a token in whole seconds. Counted from here, no token lives longer for us than for
 * GitLab.
 */
export const startOfSecond = (time: Date): Date => new Date(Math.floor(time.getTime() / 1000) * 1000)

/** For Retry-After: whole seconds, rounded up, one at least. */
export const retryAfterSeconds = (until: Date, now: Date): number =>
  Math.max(1, Math.ceil((until.getTime() - now.getTime()) / 1000))
