import {
  bulkhead,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  ExponentialBackoff,
  handleWhenResult,
  isBrokenCircuitError,
  isBulkheadRejectedError,
} from 'cockatiel'
import type { Clock } from '../clock/clock.ts'
import type { TransportFailure } from './transport-failure.ts'
import { type CallResult, createWeather, type Weather } from './weather.ts'

/** What is known of a call before it is sent. */
export type AboutCall = {
  /** Names the token that is sent, without telling it: a limit of one account stops no other. */
  account?: string | undefined
  /** Asked when it is the turn of the call. @returns why it is not to be sent after all. */
  turnAway?: (() => TransportFailure | undefined) | undefined
}

/** Runs a call to one instance, or answers at once that GitLab is not to be called now. */
export type Guard = <Answer extends CallResult>(
  call: () => Promise<Answer>,
  about?: AboutCall,
) => Promise<Answer | TransportFailure>

export type GuardOptions = {
  clock: Clock
  /** Shared by the clients of one instance; a new one when left out. */
  weather?: Weather | undefined
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
/** A call that waits longer is not sent: its claim (token-lifecycle/claim.ts) may have gone to another replica. */
const LONGEST_WAIT_MS = 5_000

const overloaded = (): TransportFailure => ({
  kind: 'failure',
  reason: 'overloaded',
  mayHaveActed: false,
  retryAfterSeconds: OVERLOADED_RETRY_SECONDS,
})

const isOutage = (result: unknown): boolean => {
  const { kind, reason, status } = result as CallResult
  if (kind === 'failure')
    return reason === 'unreachable' || reason === 'proxy_failed' || reason === 'timeout' || reason === 'cut'
  return typeof status === 'number' && status >= 500
}

/**
 * Keeps a dead or busy GitLab from tying up the process: a limit on calls at once, a circuit breaker, and the pauses
 * that GitLab asks for (weather.ts). Calls that are turned away were never sent.
 */
export const createGuard = ({
  clock,
  weather = createWeather({ clock }),
  circuitOpenMs = CIRCUIT_OPEN_MS,
  longestWaitMs = LONGEST_WAIT_MS,
}: GuardOptions): Guard => {
  const calls = bulkhead(CALLS_AT_ONCE, CALLS_WAITING)
  const breaker = circuitBreaker(handleWhenResult(isOutage), {
    breaker: new ConsecutiveBreaker(FAILURES_TO_OPEN),
    halfOpenAfter: new ExponentialBackoff({ initialDelay: circuitOpenMs, maxDelay: circuitOpenMs * 10 }),
  })
  // That of an earlier client is no longer asked: the instance was changed since.
  weather.setOpen(false)
  breaker.onStateChange((state) => weather.setOpen(state === CircuitState.Open))

  return async (call, { account, turnAway } = {}) => {
    const latest = performance.now() + longestWaitMs
    try {
      return await calls.execute(() => {
        // Checked before the breaker: a call that is not sent tells the breaker nothing.
        const reason = turnAway?.() ?? weather.turnAway(account)
        if (reason) return reason
        return breaker.execute(async () => {
          if (performance.now() > latest) return overloaded()
          const answer = await call()
          weather.note(answer, account)
          return answer
        })
      })
    } catch (error) {
      weather.note(overloaded(), account)
      if (isBrokenCircuitError(error) || isBulkheadRejectedError(error)) {
        return overloaded()
      }
      throw error
    }
  }
}
