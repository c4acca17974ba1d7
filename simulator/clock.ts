export type Clock = {
  /** Milliseconds since 1970. */
  now(): number
  /** Moves only this GitLab's time; a source of time handed in keeps its own. */
  advance(seconds: number): void
}

export const createClock = (source: () => number = Date.now): Clock => {
  let advancedMs = 0
  return {
    now: () => source() + advancedMs,
    advance(seconds) {
      advancedMs += seconds * 1000
    },
  }
}

export const secondsOf = (ms: number): number => Math.floor(ms / 1000)

/** `YYYY-MM-DD` in UTC, which is how GitLab writes the day an access token expires. */
export const dateOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10)

export const DAY_IN_MS = 86_400_000
