import type { Logger } from 'pino'
import type { Patience } from '../clock/patience.ts'

/**
 * Attempts at GitLab outlive their callers: what GitLab issues exists nowhere else, so each attempt reads on for minutes,
 * while a caller waits for seconds.
 */
export type Attempts = {
  /**
   * Joins the attempt with this key, or starts one, and waits for its outcome while the caller has patience.
   * @returns undefined when the patience is over first: the attempt goes on.
   */
  run<Outcome>(key: string, start: () => Promise<Outcome>, patience: Patience): Promise<Outcome | undefined>
  /** Resolves when no attempt is under way and the results are kept. */
  idle(): Promise<void>
}

export const createAttempts = (logger: Logger): Attempts => {
  const underWay = new Map<string, Promise<unknown>>()

  const startNew = <Outcome>(key: string, start: () => Promise<Outcome>): Promise<Outcome> => {
    const started = start().finally(() => underWay.delete(key))
    // Its callers may be gone by the time it fails.
    started.catch((error: unknown) => logger.debug({ err: error, attempt: key }, 'an attempt failed'))
    underWay.set(key, started)
    return started
  }

  return {
    run<Outcome>(key: string, start: () => Promise<Outcome>, patience: Patience) {
      const attempt = (underWay.get(key) as Promise<Outcome> | undefined) ?? startNew(key, start)
      return patience.waitFor(attempt)
    },
    async idle() {
      while (underWay.size > 0) await Promise.allSettled(underWay.values())
    },
  }
}
