import type { Logger } from 'pino'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { Claim } from './claim.ts'
import { prolongClaim } from './queries.ts'
import { CLAIM_SECONDS } from './refresh-decision.ts'

/** Three times within the life of a claim: one lost statement does not lose the claim. */
const PROLONG_EVERY_MS = (CLAIM_SECONDS / 3) * 1000

type Deps = { db: Database; clock: Clock; logger: Logger }

/**
 * Runs a call to GitLab, and prolongs the claim for as long as the call takes. A process that dies leaves a claim that
 * ends soon. A database that is away in between takes nothing: the result is saved by its version.
 */
export const withKeptClaim = async <Result>(
  { db, clock, logger }: Deps,
  { row, attemptId }: Claim,
  call: () => Promise<Result>,
): Promise<Result> => {
  const prolonging = setInterval(() => {
    prolongClaim(db, row.id, attemptId, addSeconds(new Date(clock()), CLAIM_SECONDS)).catch(
      (error: unknown) =>
        logger.warn({ err: error, connection_id: row.id }, 'a claim could not be prolonged'),
    )
  }, PROLONG_EVERY_MS)
  try {
    return await call()
  } finally {
    clearInterval(prolonging)
  }
}
