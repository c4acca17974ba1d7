import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Clock } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import type { Lineage } from '../../db/lineage.ts'
import { createNodeFile, type Node } from './node-file.ts'
import { findPast, type Heartbeat, type Past, saveBeat, saveWentBack } from './queries.ts'
import { createSuspicion, type Suspicion } from './suspicion.ts'

/**
 * Notices that the database went back to an earlier state: a restore from a backup, or a failover to a standby that
 * was behind. A node (a folder DATA_DIR) counts up in the database and on its own disk.
 *
 * - The database has counted less far: it went back. Every lease compares that too (leases/queries.ts).
 * - A new connection finds another lineage: what was confirmed last may be missing.
 *
 * In both cases each node offers the tokens that it retained (token-saver.ts), and hands out none until all have.
 */
export type DatabaseHistory = {
  /** Compares and counts on. Called at start, and every few seconds. */
  check(): Promise<void>
  /** When a node last noticed it; undefined = never, as far as the database knows. */
  wentBackAt(): Date | undefined
  /** What the database has to have of this node; undefined before the first check. */
  known(): Heartbeat | undefined
  /** The database may have gone back. */
  suspect(): void
  /** @throws {Problem} database_unavailable while the database may have gone back */
  requireSettled(): void
  /** Checks every few seconds, until the returned function is called. */
  watch(): () => void
  close(): void
}

const CHECK_EVERY_MS = 5_000
/** While the database may have gone back. */
const CHECK_SOON_MS = 200
/** Three times a node would have counted. */
const ALIVE_SECONDS = 15
/** How often a node counts anew when something changed between looking and counting. */
const MOST_LOOKS = 5

type Deps = {
  db: Database
  clock: Clock
  logger: Logger
  folder: string
  lineage?: Pick<Lineage, 'current' | 'onChange'> | undefined
  /** Gives connections that are behind their living tokens. @returns how many there were. */
  offerAllRetained(): Promise<number>
}

/** After a restore the database has the nodes of that time: who was there a moment ago is who is waited for. */
const beatsOf = (alive: string[] | undefined, others: Heartbeat[]): Heartbeat[] => {
  const beats = new Map(others.map(({ nodeId, beat }) => [nodeId, beat]))
  return (alive ?? [...beats.keys()]).map((nodeId) => ({ nodeId, beat: beats.get(nodeId) ?? 0 }))
}

/** Compares the past of the database with what this node knows of it, and counts on. */
const createComparison = (
  { db, clock, logger, folder, lineage, offerAllRetained }: Deps,
  suspicion: Suspicion,
  suspect: () => void,
) => {
  const file = createNodeFile(folder)
  let node: Node | undefined
  let wentBackAt: Date | undefined
  /** The others that were alive when the database was last seen well; undefined before. */
  let alive: string[] | undefined
  /** For which suspicion this node has offered what it retained. */
  let offeredFor = 0

  const noteWentBack = async (now: Date): Promise<void> => {
    await saveWentBack(db, now)
    wentBackAt = now
  }

  /** When the offer fails, the next check is here again. */
  const offer = async (isBehind: boolean, now: Date): Promise<void> => {
    const began = suspicion.count()
    if (offeredFor === began) return
    if (isBehind) await noteWentBack(now)
    const given = await offerAllRetained()
    if (given > 0 && !isBehind) await noteWentBack(now)
    if (isBehind || given > 0)
      logger.error({ tokens_given_back: given }, 'the database went back to an earlier state')
    offeredFor = began
  }

  const compare = async (past: Past, { beat, lineage: before }: Node, now: Date): Promise<void> => {
    const isBehind = (past.beat ?? 0) < beat
    const current = lineage?.current()
    const hasMoved = before !== undefined && current !== undefined && before !== current
    if ((isBehind || hasMoved) && !suspicion.isOpen()) suspect()
    if (suspicion.isOpen()) {
      suspicion.sees(beatsOf(alive, past.others))
      await offer(isBehind, now)
    } else if (alive && past.wentBackAt && past.wentBackAt.getTime() !== wentBackAt?.getTime()) {
      const given = await offerAllRetained()
      logger.error({ tokens_given_back: given }, 'another node noticed that the database went back')
      wentBackAt = past.wentBackAt
    } else {
      wentBackAt = past.wentBackAt
      alive = past.others.map(({ nodeId }) => nodeId)
    }
  }

  return {
    wentBackAt: () => wentBackAt,
    known: (): Heartbeat | undefined => node && { nodeId: node.id, beat: node.beat },

    /** @returns false when something changed between looking and counting, so that it has to look again. */
    async checkOnce(): Promise<boolean> {
      node ??= await file.read(clock())
      const past = await findPast(db, node.id, ALIVE_SECONDS)
      const now = new Date(clock())
      await compare(past, node, now)
      const isOver = suspicion.haveOthersCounted(past.others)
      const began = suspicion.count()
      const beat = Math.max(node.beat, past.beat ?? 0) + 1
      const next = { id: node.id, beat, at: now.getTime(), lineage: lineage?.current() ?? node.lineage }
      // Counting tells the others that this node has offered what it has: so on a connection whose lineage was seen
      // before the question. The database first: a node that dies in between finds it ahead, which is no alarm.
      const counted = await db.connection().execute(async (connection) => {
        if (suspicion.count() !== began) return false
        return saveBeat(connection, { nodeId: next.id, beat }, past.beat, now)
      })
      if (!counted) return false
      node = next
      if (isOver && suspicion.count() === began) suspicion.end()
      await file.write(next)
      return true
    },
  }
}

export const createDatabaseHistory = (deps: Deps): DatabaseHistory => {
  const { logger, lineage } = deps
  const suspicion = createSuspicion()
  const closing = new AbortController()

  const suspect = (): void => {
    suspicion.begin()
    logger.warn('the database may have gone back: no token is handed out until that is known')
    void settle()
  }
  const comparison = createComparison(deps, suspicion, suspect)

  let last: Promise<unknown> = Promise.resolve()
  const check = (): Promise<void> => {
    const running = last
      .catch(() => undefined)
      .then(async () => {
        for (let looks = 0; looks < MOST_LOOKS; looks += 1) if (await comparison.checkOnce()) return
        throw new Error('The database changes its past too often')
      })
    last = running
    return running
  }

  const checkSafely = (): Promise<void> =>
    check().catch((error: unknown) =>
      logger.debug({ err: error }, 'whether the database went back is not known'),
    )

  let isSettling = false
  const settle = async (): Promise<void> => {
    if (isSettling) return
    isSettling = true
    const since = performance.now()
    while (suspicion.isOpen() && !closing.signal.aborted) {
      await checkSafely()
      if (!suspicion.isOpen()) break
      const { signal } = closing
      await sleep(CHECK_SOON_MS, undefined, { ref: false, signal }).catch(() => undefined)
    }
    isSettling = false
    const seconds = Math.round((performance.now() - since) / 100) / 10
    if (!suspicion.isOpen())
      logger.warn({ seconds }, 'the database has what was retained: tokens are handed out')
  }

  lineage?.onChange(suspect)

  return {
    check,
    wentBackAt: comparison.wentBackAt,
    known: comparison.known,
    suspect() {
      if (!suspicion.isOpen()) suspect()
    },
    requireSettled: suspicion.requireNone,
    watch() {
      let isChecking = false
      const timer = setInterval(async () => {
        if (isChecking) return
        isChecking = true
        await checkSafely()
        isChecking = false
      }, CHECK_EVERY_MS)
      timer.unref()
      return () => clearInterval(timer)
    },
    close: () => closing.abort(),
  }
}
