import type { ClientBase } from 'pg'
import type { FollowingClock } from '../clock/following-clock.ts'
import { type Lineage, readLineage } from './lineage.ts'

const FACTS = `
  select date_part('epoch', clock_timestamp()) * 1000 as time, pg_is_in_recovery() as standby,
    current_setting('transaction_read_only') = 'on' as read_only, current_setting('lock_timeout') as lock_timeout`

export type ServerFacts = { time: number; standby: boolean; read_only: boolean; lock_timeout: string }

/** A server that answers, and is not the one that writes. */
export class ReadOnlyServerError extends Error {
  constructor(server: string, { standby }: Pick<ServerFacts, 'standby'>) {
    super(
      standby
        ? `The database server ${server} is a standby (read-only): DATABASE_URL has to name the primary, or all servers with target_session_attrs=read-write`
        : `The database server ${server} is read-only (default_transaction_read_only)`,
    )
    this.name = 'ReadOnlyServerError'
  }
}

/** Something between us and PostgreSQL that keeps no sessions. */
export class PoolerError extends Error {
  constructor() {
    super(
      'DATABASE_URL leads to a connection pooler that does not pass on the settings of a session. ' +
        'Set DATABASE_POOLER=transaction, or name PostgreSQL itself.',
    )
    this.name = 'PoolerError'
  }
}

/** Asks the server what it is, and sets the clock after it. */
export const readFacts = async (
  { query }: { query(text: string): Promise<{ rows: unknown[] }> },
  clock: FollowingClock,
): Promise<ServerFacts> => {
  const sentAt = performance.now()
  const { rows } = await query(FACTS)
  const facts = rows[0] as ServerFacts
  clock.follow({ sentAt, receivedAt: performance.now(), time: facts.time })
  return facts
}

/** What PgBouncer answers to a setting that it does not pass on. */
export const isRefusedSetting = (error: unknown): boolean =>
  error instanceof Error && /unsupported startup parameter/i.test(error.message)

/** `lockTimeout`: how the server may write the setting that was asked for; empty = none was. */
type Requirements = {
  server: string
  clock: FollowingClock
  lockTimeout: string[]
  lineage: Pick<Lineage, 'found'>
}

/**
 * Looks at a connection that was just opened: whether it is to a server that writes, without a pooler that drops settings.
 * @throws {ReadOnlyServerError | PoolerError}
 */
export const inspectServer = async (
  client: ClientBase,
  { server, clock, lockTimeout, lineage }: Requirements,
): Promise<void> => {
  const query = (text: string) => client.query(text)
  const facts = await readFacts({ query }, clock)
  if (facts.standby || facts.read_only) throw new ReadOnlyServerError(server, facts)
  if (lockTimeout.length > 0 && !lockTimeout.includes(facts.lock_timeout)) throw new PoolerError()
  lineage.found(await readLineage({ query }))
}
