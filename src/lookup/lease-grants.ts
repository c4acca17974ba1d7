import type { Clock } from '../clock/clock.ts'
import type { RunPrepared } from '../db/database.ts'
import {
  type GrantRequest,
  type GrantRow,
  grantLeases,
  grantLeasesByUrl,
  type UrlGrantRequest,
} from './queries.ts'

/** Grants leases; lookups that arrive while a statement is in flight share the next one. */
export type LeaseGrants = {
  /** undefined = no such connection for this access key, or no such key any more. */
  byId(request: GrantRequest): Promise<GrantRow | undefined>
  /** undefined = not exactly one connection covers the longest part of the URL. */
  byUrl(request: UrlGrantRequest): Promise<GrantRow | undefined>
}

/** One statement stays this short, so that a crowd does not wait for its slowest member. */
const LARGEST_BATCH = 200
/** While one statement waits for the disk, another fills up or runs. */
const STATEMENTS_AT_ONCE = 2

type Grant<Request> = (run: RunPrepared, requests: Request[], now: Date) => Promise<GrantRow[]>

export const createLeaseGrants = (deps: { runPrepared: RunPrepared; clock: Clock }): LeaseGrants => ({
  byId: shareStatements(grantLeases, deps),
  byUrl: shareStatements(grantLeasesByUrl, deps),
})

const shareStatements = <Request extends { leaseId: string }>(
  grant: Grant<Request>,
  { runPrepared, clock }: { runPrepared: RunPrepared; clock: Clock },
) => {
  type Waiting = {
    request: Request
    resolve: (row: GrantRow | undefined) => void
    reject: (error: unknown) => void
  }
  let waiting: Waiting[] = []
  let inFlight = 0

  const send = async (): Promise<void> => {
    const batch = waiting.slice(0, LARGEST_BATCH)
    waiting = waiting.slice(LARGEST_BATCH)
    inFlight += 1
    try {
      const requests = batch.map(({ request }) => request)
      const rows = await grant(runPrepared, requests, new Date(clock()))
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

  return (request: Request): Promise<GrantRow | undefined> =>
    new Promise((resolve, reject) => {
      waiting.push({ request, resolve, reject })
      // The rest of this turn of the event loop may bring more.
      if (waiting.length === 1) setImmediate(sendIfFree)
    })
}
