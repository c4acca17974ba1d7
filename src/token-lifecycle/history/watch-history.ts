import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Clock } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import type { Lineage } from '../../db/lineage.ts'
import { createGivingBack } from './giving-back.ts'
import { createNodeFile, type Node } from './node-file.ts'
import type { OfferRetained } from './offer-retained.ts'
import { findPast, type Heartbeat, type Past, saveBeat } from './queries.ts'
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
  /**
   * @param connectionId whose row may still be behind when the others are not; undefined = any connection.
   * @throws {Problem} database_unavailable while the database may have gone back
   */
  requireSettled(connectionId?: string): void
  state(): HistoryState
  /** Checks every few seconds, until the returned function is called. */
  watch(): () => void
  /** Looks once more: what this node retained is offered to a database that went back while the process was ending. */
  close(): Promise<void>
}

/** For the readiness. */
export type HistoryState = {
  /** When a node last noticed that the database went back; undefined = never. */
  wentBackAt: Date | undefined
  /** For how many seconds it is not known whether it did, when that takes too long; undefined = it does not. */
  unsettledSeconds: number | undefined
  /** How many connections are behind, and cannot be given their token yet. */
  behind: number
}

const CHECK_EVERY_MS = 5_000
/** Twice as long as the others and locked rows are waited for. */
const LONGEST_SUSPICION_MS = 30_000
/** While the database may have gone back. */
const CHECK_SOON_MS = 200
/** Three times a node would have counted. */
const ALIVE_SECONDS = 15
/** An end is not held up by a database that is away: the next start offers what is on the disk. */
const LAST_CHECK_LIMIT_MS = 3_000
/** How often a node counts anew when something changed between looking and counting. */
const MOST_LOOKS = 5

type Deps = {
  db: Database
  clock: Clock
  logger: Logger
  folder: string
  lineage?: Pick<Lineage, 'current' | 'onChange'> | undefined
  offerRetained: OfferRetained
  /** Monotonic, in milliseconds; the process's when left out. */
  now?: (() => number) | undefined
}

/** After a restore the database has the nodes of that time: who was there a moment ago is who is waited for. */
const beatsOf = (alive: string[] | undefined, others: Heartbeat[]): Heartbeat[] => {
  const beats = new Map(others.map(({ nodeId, beat }) => [nodeId, beat]))
  return (alive ?? [...beats.keys()]).map((nodeId) => ({ nodeId, beat: beats.get(nodeId) ?? 0 }))
}

const latest = (one: Date | undefined, other: Date | undefined): Date | undefined =>
  one && other ? (one > other ? one : other) : (one ?? other)

/** Compares the past of the database with what this node knows of it, and counts on. */
const createComparison = (deps: Deps, suspicion: Suspicion, suspect: () => void) => {
  const { db, clock, folder, lineage } = deps
  const file = createNodeFile(folder)
  const givingBack = createGivingBack(deps, suspicion)
  let node: Node | undefined
  /** The others that were alive when the database was last seen well; undefined before. */
  let alive: string[] | undefined

  /** @returns false while this node must not count: it has not offered what it has. */
  const compare = async (past: Past, { beat, lineage: before }: Node, now: Date): Promise<boolean> => {
    const isBehind = (past.beat ?? 0) < beat
    const current = lineage?.current()
    const hasMoved = before !== undefined && current !== undefined && before !== current
    if ((isBehind || hasMoved) && !suspicion.isOpen()) suspect()
    if (suspicion.isOpen()) {
      suspicion.sees(beatsOf(alive, past.others))
      // Whatever others have noticed, all that is retained is offered here.
      givingBack.knows(latest(past.wentBackAt, givingBack.wentBackAt()))
      return givingBack.forSuspicion(isBehind, now)
    }
    const isNews = past.wentBackAt?.getTime() !== givingBack.wentBackAt()?.getTime()
    if (alive && past.wentBackAt && isNews) {
      await givingBack.forAnother(past.wentBackAt)
      return true
    }
    await givingBack.whatIsLeft()
    givingBack.knows(past.wentBackAt)
    alive = past.others.map(({ nodeId }) => nodeId)
    return true
  }

  return {
    givingBack,
    known: (): Heartbeat | undefined => node && { nodeId: node.id, beat: node.beat },

    /** @returns false when something changed between looking and counting, so that it has to look again. */
    async checkOnce(): Promise<boolean> {
      node ??= await file.read(clock())
      const past = await findPast(db, node.id, ALIVE_SECONDS)
      const now = new Date(clock())
      if (!(await compare(past, node, now))) return true
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

/** undefined = no suspicion has been open for too long. */
const unsettledSecondsOf = (suspicion: Suspicion): number | undefined => {
  const ms = suspicion.openMs()
  return ms > LONGEST_SUSPICION_MS ? Math.round(ms / 1000) : undefined
}

type Settling = {
  logger: Logger
  suspicion: Suspicion
  closing: AbortSignal
  checkSafely(): Promise<void>
  /** What is logged of a suspicion that takes too long. */
  describe(): object
}

/** @returns what checks again and again until a suspicion is over. */
const createSettling = ({ logger, suspicion, closing, checkSafely, describe }: Settling) => {
  let isSettling = false
  return async (): Promise<void> => {
    if (isSettling) return
    isSettling = true
    const since = performance.now()
    let isWarned = false
    while (suspicion.isOpen() && !closing.aborted) {
      await checkSafely()
      if (!suspicion.isOpen()) break
      const seconds = unsettledSecondsOf(suspicion)
      if (seconds !== undefined && !isWarned) {
        isWarned = true
        const where = { seconds, ...describe() }
        logger.warn(where, 'whether the database went back is not settled: no token is handed out')
      }
      await sleep(CHECK_SOON_MS, undefined, { ref: false, signal: closing }).catch(() => undefined)
    }
    isSettling = false
    const seconds = Math.round((performance.now() - since) / 100) / 10
    if (!suspicion.isOpen())
      logger.warn({ seconds }, 'the database has what was retained: tokens are handed out')
  }
}

const withinLimit = async (work: Promise<void>): Promise<void> => {
  const limit = new AbortController()
  const over = sleep(LAST_CHECK_LIMIT_MS, undefined, { signal: limit.signal }).catch(() => undefined)
  await Promise.race([work, over])
  limit.abort()
}

export const createDatabaseHistory = (deps: Deps): DatabaseHistory => {
  const { logger, lineage } = deps
  const suspicion = createSuspicion(deps.now)
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

  let trouble: unknown
  const checkSafely = async (): Promise<void> => {
    trouble = await check().then(
      () => undefined,
      (error: unknown) => error,
    )
    if (trouble) logger.debug({ err: trouble }, 'whether the database went back is not known')
  }
  const settle = createSettling({
    logger,
    suspicion,
    closing: closing.signal,
    checkSafely,
    describe: () => ({ connections_left: comparison.givingBack.behind(), err: trouble }),
  })

  lineage?.onChange(suspect)

  return {
    check,
    wentBackAt: comparison.givingBack.wentBackAt,
    known: comparison.known,
    suspect() {
      if (!suspicion.isOpen()) suspect()
    },
    requireSettled(connectionId) {
      suspicion.requireNone()
      if (connectionId !== undefined) comparison.givingBack.requireGiven(connectionId)
    },
    state: () => ({
      wentBackAt: comparison.givingBack.wentBackAt(),
      unsettledSeconds: unsettledSecondsOf(suspicion),
      behind: comparison.givingBack.behind(),
    }),
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
    async close() {
      closing.abort()
      if (comparison.known() === undefined) return
      await withinLimit(checkSafely())
    },
  }
}
