import type { Clock } from '../clock/clock.ts'
import type { RunPrepared } from '../db/database.ts'
import type { LeaseRow } from './lease.ts'
import { isVisible, type LeaseByIdRequest, leaseById } from './queries.ts'

/**
 * Lookups that arrive while a statement is in flight share the next one.
 *
 * - No statement in flight: the next is sent at the end of this turn of the event loop.
 * - One in flight, with fewer than FULL lookups: the next is sent once as many lookups wait as the one in flight has,
 *   so that PostgreSQL works while the answers go out.
 * - One in flight with FULL or more, or two in flight: the next waits for an answer. The fuller a statement is, the less
 *   each of its lookups costs.
 * - A statement that takes longer than SLOW_MS (the disk is slow) no longer counts as in flight, up to MOST_STATEMENTS.
 */
const FULL = 32
const SLOW_MS = 25
const MOST_STATEMENTS = 4
/** One statement stays this short, so that many lookups do not wait for the slowest of them. */
const LARGEST_BATCH = 200

type Run<Request, Row> = (run: RunPrepared, requests: Request[], now: Date) => Promise<Row[]>

export type SharingDeps = { runPrepared: RunPrepared; clock: Clock; slowMs?: number }

/** @returns what runs a request in a shared statement; undefined = the statement has no row for it. */
export const shareStatements = <Request extends { leaseId: string }, Row extends LeaseRow>(
  statement: Run<Request, Row>,
  { runPrepared, clock, slowMs = SLOW_MS }: SharingDeps,
): ((request: Request) => Promise<Row | undefined>) => {
  type Waiting = {
    request: Request
    resolve: (row: Row | undefined) => void
    reject: (error: unknown) => void
  }
  let waiting: Waiting[] = []
  let inFlight = 0
  /** A new array each time: the tables of a Set keep each other, and every lookup in them, from being collected. */
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
      const rows = await statement(runPrepared, requests, new Date(clock()))
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

  /** Sends at the end of this turn of the event loop, which may bring more lookups. */
  const schedule = (): void => {
    if (isScheduled || waiting.length === 0) return
    isScheduled = true
    setImmediate(() => {
      isScheduled = false
      if (isFree()) void send()
    })
  }

  return (request) =>
    new Promise((resolve, reject) => {
      waiting.push({ request, resolve, reject })
      schedule()
    })
}

export type LeasesById = {
  /** undefined = no such connection for this access key, no such key any more, or the connection is locked. */
  lease(request: LeaseByIdRequest): Promise<LeaseRow | undefined>
  /** true: the row exists but is locked. false: this key may not see it. */
  isLocked(request: LeaseByIdRequest): Promise<boolean>
}

export const createLeasesById = (deps: SharingDeps): LeasesById => ({
  lease: shareStatements(leaseById, deps),
  isLocked: (request) => isVisible(deps.runPrepared, request, new Date(deps.clock())),
})
