import type { Logger } from 'pino'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Refresher } from '../connections/refresh.ts'
import type { ConnectionVerdict } from '../connections/verify-connection.ts'
import type { Database } from '../db/database.ts'
import {
  deleteOld,
  findConnectionsToMend,
  findConnectionsToRotate,
  findPendingGrants,
  markExpired,
} from './queries.ts'

/** What the service does without being asked. Each can be run at any time, by any replica, more than once. */
export type Jobs = {
  /** Tries again what went wrong, so that a connection does not wait for its next lookup, and marks what has ended. */
  mendConnections(): Promise<void>
  /** Rotates the access tokens that are near their end and may be rotated. */
  rotateDue(): Promise<void>
  /** Makes connections of grants that wait for GitLab to say whose they are. */
  completeGrants(): Promise<void>
  deleteOld(): Promise<void>
  /** Begins nothing more, and waits for what is at GitLab: its answer may be the only copy of a token. */
  stop(): Promise<void>
}

export type JobDeps = {
  db: Database
  clock: Clock
  logger: Logger
  refresher: Refresher
  verify(connectionId: string): Promise<ConnectionVerdict>
  rotate(connectionId: string): Promise<void>
  completeGrant(authorizationRequestId: string): Promise<unknown>
  leaseRetentionDays: number
}

/** Bounds what one run asks of GitLab; the rest waits for the next, a minute later. */
const MENDED_AT_ONCE = 8
const MOST_PER_RUN = 400
/** GitLab mails people seven days before the end: be earlier. */
const ROTATE_BEFORE_END_SECONDS = 14 * 86_400
/** The browser's own request gets a moment to finish first. */
const GRANT_AGE_SECONDS = 30
const SESSION_RETENTION_SECONDS = 7 * 86_400

export const createJobs = (deps: JobDeps): Jobs => {
  const { db, clock, logger, refresher } = deps

  let stopping = false
  const underWay = new Set<Promise<unknown>>()

  /** Runs a few at a time; what one throws is logged and stops no other. */
  const forEach = async <Item extends { id: string }>(
    items: Item[],
    name: string,
    work: (item: Item) => Promise<unknown>,
  ): Promise<void> => {
    const queue = items.values()
    const lane = async () => {
      for (const item of queue) {
        if (stopping) return
        const working = work(item).catch((error: unknown) =>
          logger.warn(
            { job: name, subject_id: item.id, reason: error instanceof Error ? error.message : undefined },
            'not done yet',
          ),
        )
        underWay.add(working)
        await working
        underWay.delete(working)
      }
    }
    await Promise.all(Array.from({ length: MENDED_AT_ONCE }, lane))
  }

  return {
    async stop() {
      stopping = true
      await Promise.all(underWay)
    },

    async mendConnections() {
      const now = new Date(clock())
      const due = await findConnectionsToMend(db, now, MOST_PER_RUN)
      await forEach(due, 'mend-connections', ({ id, token_version, refreshable }) =>
        refreshable
          ? refresher.refresh(id, { knownVersion: token_version, onConflict: 'respect' })
          : deps.verify(id),
      )
      const expired = await markExpired(db, now)
      if (due.length + expired > 0) logger.info({ tried: due.length, expired }, 'connections mended')
    },

    async rotateDue() {
      const due = await findConnectionsToRotate(db, {
        now: new Date(clock()),
        withinSeconds: ROTATE_BEFORE_END_SECONDS,
        limit: MOST_PER_RUN,
      })
      await forEach(due, 'rotate-due', ({ id }) => deps.rotate(id))
    },

    async completeGrants() {
      const before = addSeconds(new Date(clock()), -GRANT_AGE_SECONDS)
      await forEach(await findPendingGrants(db, before, MOST_PER_RUN), 'complete-grants', ({ id }) =>
        deps.completeGrant(id),
      )
    },

    async deleteOld() {
      const now = new Date(clock())
      const deleted = await deleteOld(db, {
        leasesBefore: addSeconds(now, -deps.leaseRetentionDays * 86_400),
        sessionsBefore: addSeconds(now, -SESSION_RETENTION_SECONDS),
      })
      if (deleted > 0) logger.info({ deleted }, 'old rows deleted')
    },
  }
}
