import type { Logger } from 'pino'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import { addRefusals, listRefusals, type RefusalSlice, SLICE_SECONDS } from './queries.ts'

/**
 * GitLab bans an address, and gitlab.com's edge blocks one, for too many refused requests. So what we cause of 400, 401 and
 * 403 at an instance has a budget, which all replicas share.
 */

/** gitlab.com blocks at about 200 in a minute. */
export const REFUSAL_BUDGET = 90
/** What is under way may go over this by a little. */
const LIMIT = REFUSAL_BUDGET - 10
export const WINDOW_SECONDS = 180
/** What was refused before, and may be refused again, leaves this much to what was not. */
export const RESERVE = 30
/** What was refused more often leaves this much to what was refused less: a wrong refusal is over with one of the next tries. */
const RESERVE_OF_REPEATED = 40
const RESERVE_OF_OFTEN = 50
/** By then more than a minute has passed: few wrong refusals last as long. */
const OFTEN = 5
/** GitLab can refuse a good refresh token for minutes (database replica lag): as long we go on trying. */
export const REFUSAL_GRACE_SECONDS = 300
/** A refused refresh is tried again after 5 s, and after 10 s more (token-lifecycle/refresh-decision.ts). */
const TRIED_AGAIN_SECONDS = 15
/** However much was refused, this many refreshes may be under way: a healthy connection is not stopped. */
const ALWAYS_UNDER_WAY = 2

export type Refused = Pick<ConnectionRow, 'refused_since' | 'failure_count'>

/**
 * What a refused thing leaves of the budget. The first refusal counts failures anew, but an outage after it counts too: so
 * some time has to have passed since the first.
 */
export const reserveOf = (refused: Refused | undefined, now: number): number => {
  if (!refused?.refused_since || refused.failure_count < 2) return RESERVE
  const seconds = (now - refused.refused_since.getTime()) / 1000
  if (seconds < TRIED_AGAIN_SECONDS) return RESERVE
  // The next refusal of what was refused for so long is the last one.
  const isLast = seconds >= REFUSAL_GRACE_SECONDS
  return refused.failure_count < OFTEN || isLast ? RESERVE_OF_REPEATED : RESERVE_OF_OFTEN
}

export type RefusalBudget = {
  /** GitLab refused a call. Counted here at once, and in the database soon. */
  note(instanceId: string): void
  /** Refusals in the last three minutes, of all replicas. */
  spent(instanceId: string): number
  /** Whether something that was refused before may be tried again now. @param refused how that went on so far. */
  hasRoomForDoubtful(instanceId: string, refused?: Refused): boolean
  hasRoom(instanceId: string): boolean
  /**
   * Counts a call that may be refused.
   * @param room so many may be refused or under way at the most, for what nobody has to have
   * @returns false when as many are under way as there is room for
   */
  enter(instanceId: string, room?: number): boolean
  leave(instanceId: string): void
  /** Reads what the other replicas have counted. */
  follow(): Promise<void>
  idle(): Promise<void>
}

type Count = {
  /** Refusals by the time at which each slice began. */
  slices: Map<number, number>
  pending: number
  underWay: number
  writing: Promise<void> | undefined
}

const sumOf = ({ slices, pending }: Count, after: number): number =>
  [...slices].reduce((sum, [since, refusals]) => (since > after ? sum + refusals : sum), pending)

export const createRefusalBudget = ({
  db,
  clock,
  logger,
}: {
  db: Database
  clock: Clock
  logger: Logger
}): RefusalBudget => {
  const counts = new Map<string, Count>()
  const countOf = (instanceId: string): Count => {
    const known = counts.get(instanceId)
    if (known) return known
    const count: Count = { slices: new Map(), pending: 0, underWay: 0, writing: undefined }
    counts.set(instanceId, count)
    return count
  }
  /** A slice counts for as long as a refusal at its end does. */
  const windowStart = () => addSeconds(new Date(clock()), -WINDOW_SECONDS - SLICE_SECONDS)

  const remember = (count: Count, rows: RefusalSlice[]) => {
    const start = windowStart().getTime()
    for (const since of count.slices.keys()) if (since <= start) count.slices.delete(since)
    for (const { since, refusals } of rows) count.slices.set(since.getTime(), refusals)
  }

  /** One statement at a time: what comes meanwhile goes with the next. */
  const write = async (instanceId: string, count: Count): Promise<void> => {
    while (count.pending > 0) {
      const refusals = count.pending
      const request = { instanceId, refusals, now: new Date(clock()), since: windowStart() }
      const rows = await addRefusals(db, request)
      count.pending -= refusals
      remember(count, rows)
    }
  }

  const spent = (instanceId: string): number => {
    const count = counts.get(instanceId)
    return count ? sumOf(count, windowStart().getTime()) : 0
  }

  return {
    note(instanceId) {
      const count = countOf(instanceId)
      count.pending += 1
      count.writing ??= write(instanceId, count)
        .catch((error: unknown) => {
          // An instance that is stored nowhere has no row; a database that is away counts nothing.
          count.pending = 0
          logger.debug({ err: error, instance_id: instanceId }, 'refusals could not be counted')
        })
        .finally(() => {
          count.writing = undefined
        })
    },
    spent,
    hasRoomForDoubtful: (instanceId, refused) =>
      spent(instanceId) < REFUSAL_BUDGET - reserveOf(refused, clock()),
    hasRoom: (instanceId) => spent(instanceId) < LIMIT,
    enter(instanceId, room) {
      const count = countOf(instanceId)
      const most =
        room === undefined ? Math.max(ALWAYS_UNDER_WAY, LIMIT - spent(instanceId)) : room - spent(instanceId)
      if (count.underWay >= most) return false
      count.underWay += 1
      return true
    },
    leave(instanceId) {
      countOf(instanceId).underWay -= 1
    },
    async follow() {
      const rows = Map.groupBy(await listRefusals(db, windowStart()), ({ instance_id }) => instance_id)
      for (const [instanceId, slices] of rows) remember(countOf(instanceId), slices)
    },
    async idle() {
      await Promise.all([...counts.values()].map(({ writing }) => writing))
    },
  }
}
