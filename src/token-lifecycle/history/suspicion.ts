import { Problem } from '../../errors/problem.ts'
import type { Heartbeat } from './queries.ts'

/** A node that is there counts within five seconds, and one that is restarted meanwhile counts when it is ready. */
const OTHERS_LIMIT_MS = 15_000
const RETRY_SECONDS = 1

/**
 * Whether the database may have gone back. While it may, no token is handed out, refreshed or rotated: the one at hand
 * may have a successor on the disk of another node. It is over when this node has offered what it retained, and every
 * other node that was alive has counted since. A connection that cannot be given its token, since somebody has its row
 * locked, holds up the others for as long as a node that does not count.
 */
export type Suspicion = {
  begin(): void
  isOpen(): boolean
  /** How often it began. */
  count(): number
  /** For how long it has been open; 0 = it is not. */
  openMs(): number
  /** Whether what could not be given back yet has had its time: then it holds up itself alone. */
  isLate(): boolean
  /** What the database had of the others when this node first looked. */
  sees(others: Heartbeat[]): void
  /** Whether the others have counted since, or have had their time. */
  haveOthersCounted(others: Heartbeat[]): boolean
  end(): void
  /** @throws {Problem} database_unavailable */
  requireNone(): void
}

export const createSuspicion = (now = () => performance.now()): Suspicion => {
  let count = 0
  let open: { others?: Heartbeat[]; seenAt: number; begunAt: number; since: number } | undefined
  return {
    begin() {
      count += 1
      open = { seenAt: 0, begunAt: now(), since: open?.since ?? now() }
    },
    isOpen: () => open !== undefined,
    count: () => count,
    openMs: () => (open ? now() - open.since : 0),
    isLate: () => open !== undefined && now() - open.begunAt > OTHERS_LIMIT_MS,
    sees(others) {
      if (open && !open.others) open = { ...open, others, seenAt: now() }
    },
    haveOthersCounted(others) {
      if (!open?.others) return false
      if (now() - open.seenAt > OTHERS_LIMIT_MS) return true
      const beats = new Map(others.map(({ nodeId, beat }) => [nodeId, beat]))
      return open.others.every(({ nodeId, beat }) => (beats.get(nodeId) ?? 0) > beat)
    },
    end() {
      open = undefined
    },
    requireNone() {
      if (open !== undefined) throw mayHaveGoneBack()
    },
  }
}

export const mayHaveGoneBack = (): Problem =>
  new Problem(
    'database_unavailable',
    'The database may have gone back to an earlier state; the tokens since are being given back to it.',
    { retryAfterSeconds: RETRY_SECONDS },
  )
