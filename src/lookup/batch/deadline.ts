import { Problem } from '../../errors/problem.ts'

const DEFAULT_WAIT_SECONDS = 30
/** Proxies in front end a request that takes longer. */
const LONGEST_WAIT_SECONDS = 60
/** The database is asked in any case: 0 means "without GitLab". */
const SHORTEST_WAIT_MS = 1_000
const RETRY_SECONDS = 5
const WAIT = /(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:[;,]|$)/i

/** What `Prefer: wait=` asks for (RFC 7240, section 4.3), in seconds; undefined = nothing. */
export const readWait = (prefer: string | string[] | undefined): number | undefined => {
  const [, seconds] = WAIT.exec([prefer ?? ''].flat().join(',')) ?? []
  return seconds === undefined ? undefined : Math.min(LONGEST_WAIT_SECONDS, Number(seconds))
}

export const waitMs = (seconds = DEFAULT_WAIT_SECONDS): number => Math.max(SHORTEST_WAIT_MS, seconds * 1000)

export type Deadline = {
  /** Aborts when the time is over, or the caller gone. */
  signal: AbortSignal
  /**
   * The value, when it comes in time.
   * @param giveUp is told of a value that comes too late.
   * @throws {Problem} deadline_passed, and what the work throws in time
   */
  race<Value>(work: Promise<Value>, giveUp: (late: Value) => void): Promise<Value>
  /** Ends the timer. */
  end(): void
}

/** @param caller aborts when nobody waits for the answer any more. */
export const startDeadline = (ms: number, caller: AbortSignal): Deadline => {
  const time = new AbortController()
  const timer = setTimeout(() => time.abort(), ms)
  const signal = AbortSignal.any([time.signal, caller])
  const passed = new Promise<'passed'>((resolve) => {
    if (signal.aborted) resolve('passed')
    signal.addEventListener('abort', () => resolve('passed'), { once: true })
  })
  // One for all: a thousand errors, each with its stack, would hold up what others ask.
  let tooLate: Problem | undefined
  return {
    signal,
    async race(work, giveUp) {
      const first = await Promise.race([work.then((value) => ({ value })), passed])
      if (first !== 'passed') return first.value
      work.then(giveUp, () => undefined)
      tooLate ??= new Problem('deadline_passed', 'The token was not ready in time; what was begun goes on.', {
        retryAfterSeconds: RETRY_SECONDS,
      })
      throw tooLate
    },
    end: () => clearTimeout(timer),
  }
}
