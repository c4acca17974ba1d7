import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { type GrantRequest, type GrantRow, grantLeases } from './queries.ts'

export type LeaseGrants = {
  /** undefined = no such connection for this access key, or no such key any more. */
  request(request: GrantRequest): Promise<GrantRow | undefined>
}

type Waiting = {
  request: GrantRequest
  resolve: (row: GrantRow | undefined) => void
  reject: (error: unknown) => void
}

/** One statement stays this short, so that a crowd does not wait for its slowest member. */
const LARGEST_BATCH = 200
/** While one statement is under way the next fills up; a second in parallel keeps the database busy. */
const STATEMENTS_AT_ONCE = 2

/** Lookups that arrive while a statement is in flight share the next one. */
export const createLeaseGrants = ({ db, clock }: { db: Database; clock: Clock }): LeaseGrants => {
  let waiting: Waiting[] = []
  let inFlight = 0

  const send = async (): Promise<void> => {
    const batch = waiting.slice(0, LARGEST_BATCH)
    waiting = waiting.slice(LARGEST_BATCH)
    inFlight += 1
    try {
      const rows = await grantLeases(
        db,
        batch.map(({ request }) => request),
        new Date(clock()),
      )
      const byLease = new Map(rows.map((row) => [row.lease_id, row]))
      for (const { request, resolve } of batch) resolve(byLease.get(request.leaseId))
    } catch (error) {
      for (const { reject } of batch) reject(error)
    } finally {
      inFlight -= 1
      sendIfFree()
    }
  }

  const sendIfFree = (): void => {
    if (waiting.length > 0 && inFlight < STATEMENTS_AT_ONCE) void send()
  }

  return {
    request: (request) =>
      new Promise((resolve, reject) => {
        waiting.push({ request, resolve, reject })
        // The rest of this turn of the event loop may bring more.
        if (waiting.length === 1) setImmediate(sendIfFree)
      }),
  }
}
