import { hash } from 'node:crypto'
import type { Principal } from '../../callers/principal.ts'
import { addSeconds, type Clock } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import { Problem } from '../../errors/problem.ts'
import { type BatchName, claimBatch, findBatchRequest, finishBatch } from './queries.ts'

/** Longer than any batch takes: the claim of a process that died ends soon after. */
const CLAIM_SECONDS = 90
const RETRY_SECONDS = 2

export type Remembered = {
  /** Leases of an earlier answer to the same request, by position; '' or missing = none. */
  leaseIds: string[]
  /** Keeps what the request was answered with. */
  finish(leaseIds: string[]): Promise<void>
}

const NOT_REMEMBERED: Remembered = { leaseIds: [], finish: async () => undefined }

/**
 * A request with an Idempotency-Key that comes again gets the leases of the first answer, as far as they still count, and
 * tries again what had failed. Keys are per caller, and are kept for a day.
 * @throws {Problem} idempotency_key_reused: with another request; batch_in_progress
 */
export const rememberBatch = async (
  { db, clock }: { db: Database; clock: Clock },
  principal: Principal,
  key: string | undefined,
  request: unknown,
): Promise<Remembered> => {
  if (key === undefined) return NOT_REMEMBERED
  const name: BatchName = {
    accessKeyId: principal.id,
    subject: principal.subject ?? '',
    keySha256: hash('sha256', key, 'buffer'),
  }
  const requestSha256 = hash('sha256', JSON.stringify(request), 'buffer')
  const now = new Date(clock())
  const until = addSeconds(now, CLAIM_SECONDS)
  const claimed = await claimBatch(db, name, { requestSha256, now, until })
  if (!claimed) {
    const earlier = await findBatchRequest(db, name)
    if (earlier && !earlier.equals(requestSha256))
      throw new Problem(
        'idempotency_key_reused',
        'You sent this Idempotency-Key with another request before.',
      )
    throw new Problem('batch_in_progress', 'The same request is being answered right now.', {
      retryAfterSeconds: RETRY_SECONDS,
    })
  }
  return {
    leaseIds: claimed.lease_ids ?? [],
    finish: (leaseIds) => finishBatch(db, name, leaseIds),
  }
}
