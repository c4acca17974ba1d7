import { sql } from 'kysely'
import type { Database, OpenDatabase } from './database.ts'

/** A session that has what a migration waits for. Without the text of its statement, which may hold values. */
export type Blocker = {
  pid: number
  application: string | null
  role: string | null
  /** `idle in transaction`: the session does nothing, and keeps its locks. */
  state: string | null
  /** Since when its transaction runs. */
  transaction_seconds: number | null
}

/** What people read of it. */
export const MIGRATION_WAITS = 'the migration waits for locks that others have'

export type MigrationWait = { seconds: number; blockers: Blocker[] }

/** Locks are given back within milliseconds, as a rule. */
const FIRST_WORD_MS = 5_000
const NEXT_WORD_MS = 60_000
/** A migration waits for a part of the time only: it gives way between its tries. */
const LOOK_EVERY_MS = 50

const findBlockers = async (db: Database, pid: number): Promise<Blocker[]> => {
  const { rows } = await sql<Blocker>`
    select pid, application_name as application, usename as role, state,
      round(extract(epoch from clock_timestamp() - xact_start))::int as transaction_seconds
    from pg_stat_activity where pid = any (pg_blocking_pids(${pid}))`.execute(db)
  return rows
}

/** `watch`: the migration runs on this backend of the server. */
export type Waits = { watch(pid: number): void; stop(): void }

/** Tells who has the locks that a migration waits for: after some seconds, and then each minute. */
export const watchWaits = (
  { db, kind }: Pick<OpenDatabase, 'db' | 'kind'>,
  onWaiting: (wait: MigrationWait) => void,
): Waits => {
  // Nobody else is in an embedded database, and its only connection is the one that migrates.
  if (kind === 'embedded') return { watch: () => undefined, stop: () => undefined }
  const since = performance.now()
  let pid: number | undefined
  let nextMs = FIRST_WORD_MS
  let isLooking = false
  const look = async () => {
    const waitedMs = performance.now() - since
    if (isLooking || pid === undefined || waitedMs < nextMs) return
    isLooking = true
    // Why it could not be told does not matter: the next look is soon.
    const blockers = await findBlockers(db, pid).catch(() => [])
    isLooking = false
    if (blockers.length === 0) return
    nextMs = waitedMs + NEXT_WORD_MS
    onWaiting({ seconds: Math.round(waitedMs / 1000), blockers })
  }
  const timer = setInterval(() => void look(), LOOK_EVERY_MS)
  timer.unref()
  return {
    watch(backend) {
      pid = backend
    },
    stop: () => clearInterval(timer),
  }
}
