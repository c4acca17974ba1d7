/** The current time in milliseconds since the epoch. Everything that needs the time is given one of these. */
export type Clock = () => number

export const systemClock: Clock = () => Date.now()

export const addSeconds = (time: Date, seconds: number): Date => new Date(time.getTime() + seconds * 1000)

/** Whole seconds that are left, rounded down: for what a token still lives. */
export const secondsUntil = (time: Date, now: Date): number =>
  Math.floor((time.getTime() - now.getTime()) / 1000)

/** GitLab counts the life of a token in whole seconds: counted from here, none lives longer for us than for GitLab. */
export const startOfSecond = (time: Date): Date => new Date(Math.floor(time.getTime() / 1000) * 1000)

/** For Retry-After: whole seconds, rounded up, one at least. */
export const retryAfterSeconds = (until: Date, now: Date): number =>
  Math.max(1, Math.ceil((until.getTime() - now.getTime()) / 1000))
