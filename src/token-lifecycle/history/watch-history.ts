import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { v7 as uuidv7 } from 'uuid'
import type { Clock } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import { findPast, saveBeat, saveWentBack } from './queries.ts'

/**
 * Notices that the database went back to an earlier state: a restore from a backup, or a failover to a standby that
 * was behind. A node (a folder DATA_DIR) counts up in the database and on its own disk. When the database has counted
 * less far, it went back. Then each node offers the tokens that it retained (token-saver.ts).
 */
export type DatabaseHistory = {
  /** Compares and counts on. Called at start, and every few seconds. */
  check(): Promise<void>
  /** When a node last noticed it; undefined = never, as far as the database knows. */
  wentBackAt(): Date | undefined
  /** Checks every few seconds, until the returned function is called. */
  watch(): () => void
}

const CHECK_EVERY_MS = 5_000
/** A node that was stopped for longer starts anew: its row may have been deleted (deleteHeartbeatsBefore). */
export const HEARTBEAT_RETENTION_SECONDS = 30 * 86_400
const OWNER_ONLY = 0o600

type Node = { id: string; beat: number; at: number }

type Deps = {
  db: Database
  clock: Clock
  logger: Logger
  folder: string
  /** Gives connections that are behind their living tokens. @returns how many there were. */
  offerAllRetained(): Promise<number>
}

export const createDatabaseHistory = (deps: Deps): DatabaseHistory => {
  const { db, clock, logger, folder, offerAllRetained } = deps
  const file = join(folder, 'node.json')
  let node: Node | undefined
  let wentBackAt: Date | undefined
  let isKnown = false

  const readNode = async (): Promise<Node> => {
    const text = await readFile(file, 'utf8').catch(() => undefined)
    try {
      const { id, beat, at } = JSON.parse(text ?? '') as Node
      const isRecent = clock() - at < HEARTBEAT_RETENTION_SECONDS * 1000
      if (typeof id === 'string' && Number.isInteger(beat) && isRecent) return { id, beat, at }
    } catch {
      // No file yet, or one that was cut off: the node begins anew.
    }
    return { id: uuidv7(), beat: 0, at: clock() }
  }

  const writeNode = async (next: Node): Promise<void> => {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await writeFile(`${file}.draft`, JSON.stringify(next), { mode: OWNER_ONLY })
    await rename(`${file}.draft`, file)
  }

  const offer = async (): Promise<void> => {
    const given = await offerAllRetained()
    logger.error({ tokens_given_back: given }, 'the database went back to an earlier state')
  }

  const check = async (): Promise<void> => {
    node ??= await readNode()
    const past = await findPast(db, node.id)
    const now = new Date(clock())
    if ((past.beat ?? 0) < node.beat) {
      await saveWentBack(db, now)
      wentBackAt = now
      // When it fails, the next check is here again: this node's beat is still ahead.
      await offer()
    } else if (isKnown && past.wentBackAt && past.wentBackAt.getTime() !== wentBackAt?.getTime()) {
      // Another node noticed. When the offer fails, the next check is here again.
      await offer()
      wentBackAt = past.wentBackAt
    } else {
      wentBackAt = past.wentBackAt
    }
    isKnown = true
    const next = { id: node.id, beat: Math.max(node.beat, past.beat ?? 0) + 1, at: now.getTime() }
    // The database first: a node that dies in between finds the database ahead, which is no alarm.
    await saveBeat(db, next.id, next.beat, now)
    node = next
    await writeNode(next)
  }

  return {
    check,
    wentBackAt: () => wentBackAt,
    watch() {
      let isChecking = false
      const checkOnce = async (): Promise<void> => {
        if (isChecking) return
        isChecking = true
        await check().catch((error: unknown) =>
          logger.debug({ err: error }, 'whether the database went back is not known'),
        )
        isChecking = false
      }
      const timer = setInterval(checkOnce, CHECK_EVERY_MS)
      timer.unref()
      return () => clearInterval(timer)
    },
  }
}
