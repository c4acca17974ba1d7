import { startPatience } from '../../clock/patience.ts'
import { isDatabaseUnavailable } from '../../db/availability.ts'
import { beginSync } from './begin-sync.ts'
import { findDueSyncs, putOffHopeless } from './queries.ts'
import { runSync, type SyncDeps } from './run-sync.ts'

/** The reading of projects in this process. */
export type Syncs = {
  /** Reads the connections that are due, a few at once. Returns when they are read, or after a while. */
  runDue(): Promise<void>
  /** Begins at once where there is room; otherwise a later runDue does. Returns when the reading has begun. */
  start(connectionId: string): Promise<void>
  /** Stops after the page that is being read; where it was is in the database. */
  stop(): Promise<void>
}

/** Of background work; as many more for people who ask. */
const AT_ONCE = 4
const MOST_AT_ONCE = 2 * AT_ONCE
const MOST_PER_RUN = 200
/** Shorter than the time between two runs. */
const LONGEST_RUN_MS = 50_000

export const createSyncs = (deps: SyncDeps): Syncs => {
  const { db, clock, logger } = deps
  const running = new Map<string, Promise<void>>()
  const stopping = new AbortController()
  const { signal } = stopping

  /** @returns when it has begun. */
  const begin = (connectionId: string): Promise<unknown> => {
    const begun = beginSync(deps, connectionId)
    const ended = begun
      .then((sync) => sync && runSync(deps, sync, signal))
      .catch((error: unknown) => {
        const level = isDatabaseUnavailable(error) ? 'debug' : 'warn'
        logger[level]({ err: error, connection_id: connectionId }, 'reading projects ended early')
      })
      .finally(() => running.delete(connectionId))
    running.set(connectionId, ended)
    return begun
  }
  const mayBegin = (connectionId: string, atOnce: number): boolean =>
    !signal.aborted && !running.has(connectionId) && running.size < atOnce

  return {
    async runDue() {
      const patience = startPatience(LONGEST_RUN_MS)
      const now = new Date(clock())
      await putOffHopeless(db, now)
      for (const id of await findDueSyncs(db, now, MOST_PER_RUN)) {
        while (running.size >= AT_ONCE && !patience.isOver() && !signal.aborted)
          await patience.waitFor(Promise.race(running.values()))
        if (mayBegin(id, AT_ONCE)) begin(id).catch(() => undefined)
      }
      await patience.waitFor(Promise.all(running.values()))
    },
    async start(connectionId) {
      if (mayBegin(connectionId, MOST_AT_ONCE)) await begin(connectionId)
    },
    async stop() {
      stopping.abort()
      await Promise.all(running.values())
    },
  }
}
