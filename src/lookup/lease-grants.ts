import type { Clock } from '../clock/clock.ts'
import type { RunPrepared } from '../db/database.ts'
import type { GrantRequest, GrantRow, MatchGrantRequest, UrlGrantRequest } from './grants/grant.ts'
import { grantLeases, grantLeasesByMatch, grantLeasesByUrl, isVisible } from './grants/queries.ts'

/** Grants leases; lookups that arrive while a statement is in flight share the next one. */
export type LeaseGrants = {
  /** undefined = no such connection for this access key, no such key any more, or the connection is locked. */
  byId(request: GrantRequest): Promise<GrantRow | undefined>
  /** Which of these it is: whether there is such a connection for this access key. */
  isLocked(request: GrantRequest): Promise<boolean>
  /** undefined, or without a grant = the match may hold no longer, or the connection is locked. */
  byMatch(request: MatchGrantRequest): Promise<GrantRow | undefined>
  /** undefined, or without a grant = the rules of url-match.ts have to decide. */
  byUrl(request: UrlGrantRequest): Promise<GrantRow | undefined>
}

/** One statement stays this short, so that a crowd does not wait for its slowest member. */
const LARGEST_BATCH = 200
/** The fuller a statement, the less each of its lookups costs: while one runs, the next fills up. When it is as full as
 * the one that runs it is sent too, so that PostgreSQL works while the answers go out; beside one this full, the next
 * had better fill up further. */
const FULL = 32
/** One that takes longer than this (the disk is slow) holds up the others no more. */
const SLOW_MS = 25
const MOST_STATEMENTS = 4

type Grant<Request> = (run: RunPrepared, requests: Request[], now: Date) => Promise<GrantRow[]>

type Deps = { runPrepared: RunPrepared; clock: Clock; slowMs?: number }

export const createLeaseGrants = (deps: Deps): LeaseGrants => {
  const byUrlWithin = shareStatements(grantLeasesByUrl, deps)
  const byUrlAnywhere = shareStatements(grantLeasesByUrl, deps)
  return {
    byId: shareStatements(grantLeases, deps),
    isLocked: (request) => isVisible(deps.runPrepared, request, new Date(deps.clock())),
    byMatch: shareStatements(grantLeasesByMatch, deps),
    byUrl: (request) => (request.organizations ? byUrlWithin(request) : byUrlAnywhere(request)),
  }
}

const shareStatements = <Request extends { leaseId: string }>(
  grant: Grant<Request>,
  { runPrepared, clock, slowMs = SLOW_MS }: Deps,
) => {
  type Waiting = {
    request: Request
    resolve: (row: GrantRow | undefined) => void
    reject: (error: unknown) => void
  }
  let waiting: Waiting[] = []
  let inFlight = 0
  /** A new array each time: the tables of a Set keep one another, and with them every lookup, from being collected. */
  let prompt: Waiting[][] = []
  let isScheduled = false

  const send = async (): Promise<void> => {
    const batch = waiting.slice(0, LARGEST_BATCH)
    waiting = waiting.slice(LARGEST_BATCH)
    inFlight += 1
    prompt = [...prompt, batch]
    const isNoLongerPrompt = () => {
      prompt = prompt.filter((other) => other !== batch)
      schedule()
    }
    const slow = setTimeout(isNoLongerPrompt, slowMs)
    try {
      const requests = batch.map(({ request }) => request)
      const rows = await grant(runPrepared, requests, new Date(clock()))
      const byLease = new Map(rows.map((row) => [row.lease_id, row]))
      for (const { request, resolve } of batch) resolve(byLease.get(request.leaseId))
    } catch (error) {
      for (const { reject } of batch) reject(error)
    } finally {
      clearTimeout(slow)
      inFlight -= 1
      isNoLongerPrompt()
    }
  }

  const isFree = (): boolean => {
    const [first, second] = prompt
    if (inFlight >= MOST_STATEMENTS || second) return false
    return !first || (first.length < FULL && waiting.length >= first.length)
  }

  /** The rest of this turn of the event loop may bring more. */
  const schedule = (): void => {
    if (isScheduled || waiting.length === 0) return
    isScheduled = true
    setImmediate(() => {
      isScheduled = false
      if (isFree()) void send()
    })
  }

  return (request: Request): Promise<GrantRow | undefined> =>
    new Promise((resolve, reject) => {
      waiting.push({ request, resolve, reject })
      schedule()
    })
}
