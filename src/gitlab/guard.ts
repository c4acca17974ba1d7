import {
  bulkhead,
  ConsecutiveBreaker,
  circuitBreaker,
  ExponentialBackoff,
  handleWhenResult,
  isBrokenCircuitError,
  isBulkheadRejectedError,
} from 'cockatiel'
import type { Clock } from '../clock/clock.ts'
import type { TransportFailure } from './transport-failure.ts'

/** Anything that tells how a call to GitLab went. */
type Result = { kind: string; status?: number | undefined; retryAfterSeconds?: number | undefined }

/** Runs a call to one instance, or answers at once that GitLab is not to be called now. */
export type Guard = <Answer extends Result>(call: () => Promise<Answer>) => Promise<Answer | TransportFailure>

export type GuardOptions = {
  clock: Clock
  /** How long the circuit stays open at first. The time doubles with each failed trial, up to ten times this. */
  circuitOpenMs?: number | undefined
  /** How long a call may wait for its turn before it is turned away. */
  longestWaitMs?: number | undefined
}

/** As many as the agent has sockets: a call never waits inside the agent, where its time limit would run already. */
export const CALLS_AT_ONCE = 32
const CALLS_WAITING = 1_000
const FAILURES_TO_OPEN = 10
const CIRCUIT_OPEN_MS = 1_000
const OVERLOADED_RETRY_SECONDS = 2
const DEFAULT_PAUSE_SECONDS = 10
/** The longest pause that is kept: GitLab may ask for an absurd one by mistake. */
const LONGEST_PAUSE_SECONDS = 120
/** A call that waits longer is not sent: its claim (token-lifecycle/claim.ts) may have gone to another replica. */
const LONGEST_WAIT_MS = 5_000

const isOutage = (result: unknown): boolean => {
  const { kind, reason, status } = result as Result & { reason?: string }
  if (kind === 'failure')
    return reason === 'unreachable' || reason === 'proxy_failed' || reason === 'timeout' || reason === 'cut'
  return typeof status === 'number' && status >= 500
}

/**
 * Keeps a dead or busy GitLab from tying up the process: a limit on calls at once, a circuit breaker, and the pause
 * that GitLab asked for with a 429. Calls that are turned away were never sent.
 */
export const createGuard = ({
  clock,
  circuitOpenMs = CIRCUIT_OPEN_MS,
  longestWaitMs = LONGEST_WAIT_MS,
}: GuardOptions): Guard => {
  const calls = bulkhead(CALLS_AT_ONCE, CALLS_WAITING)
  const breaker = circuitBreaker(handleWhenResult(isOutage), {
    breaker: new ConsecutiveBreaker(FAILURES_TO_OPEN),
    halfOpenAfter: new ExponentialBackoff({ initialDelay: circuitOpenMs, maxDelay: circuitOpenMs * 10 }),
  })
  let pausedUntil = 0

  const turnedAway = (
    reason: 'overloaded' | 'rate_limited',
    retryAfterSeconds: number,
  ): TransportFailure => ({
    kind: 'failure',
    reason,
    mayHaveActed: false,
    retryAfterSeconds,
  })

  return async (call) => {
    const latest = performance.now() + longestWaitMs
    try {
      return await calls.execute(() => {
        const pause = pausedUntil - clock()
        // Checked before the breaker: a call that is not sent tells the breaker nothing.
        if (pause > 0) return turnedAway('rate_limited', Math.ceil(pause / 1000))
        return breaker.execute(async () => {
          if (performance.now() > latest) return turnedAway('overloaded', OVERLOADED_RETRY_SECONDS)
          const answer = await call()
          if (answer.kind === 'rate_limited' || answer.status === 429) {
            const seconds = Math.min(answer.retryAfterSeconds ?? DEFAULT_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            pausedUntil = Math.max(pausedUntil, clock() + seconds * 1000)
          }
          return answer
        })
      })
    } catch (error) {
      if (isBrokenCircuitError(error) || isBulkheadRejectedError(error)) {
        return turnedAway('overloaded', OVERLOADED_RETRY_SECONDS)
      }
      throw error
    }
  }
}
