import { setTimeout as sleep } from 'node:timers/promises'

/** How long one caller waits for a change that is being made: shorter than a scanner's own patience. */
const PATIENCE_MS = 12_000
const PAUSE_MS = 100

export type Patience = {
  isOver(): boolean
  /** Waits a moment before looking again. */
  pause(): Promise<void>
  /** @returns undefined when the patience is over before the promise is settled. */
  waitFor<Value>(promise: Promise<Value>): Promise<Value | undefined>
}

/** Counts from now, by the monotonic clock: a wall clock that is set in between shortens or prolongs nothing. */
export const startPatience = (patienceMs = PATIENCE_MS): Patience => {
  const end = performance.now() + patienceMs
  return {
    isOver: () => performance.now() > end,
    pause: () => sleep(PAUSE_MS),
    async waitFor(promise) {
      const settled = new AbortController()
      const over = sleep(Math.max(0, end - performance.now()), undefined, { signal: settled.signal })
      try {
        return await Promise.race([promise, over.catch(() => undefined)])
      } finally {
        settled.abort()
      }
    },
  }
}
