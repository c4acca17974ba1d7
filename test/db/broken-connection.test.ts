import { sql } from 'kysely'
import t from 'tap'
import { type Database, isDatabaseUnavailable } from '../../src/db/database.ts'
import { createTestDatabase } from '../support/database.ts'

const isRunning = async (db: Database, pid: number): Promise<boolean> =>
  (await sql`select from pg_stat_activity where pid = ${pid}`.execute(db)).rows.length > 0

t.test(
  'a database connection that breaks between two statements fails the next, and not the process',
  async (t) => {
    const { db } = await createTestDatabase(t)
    const interrupted = db.transaction().execute(async (transaction) => {
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(transaction)
      const { pid } = rows[0]!
      await sql`select pg_terminate_backend(${pid})`.execute(db)
      // The server says so on the broken connection before its process is gone: by then the driver knows.
      while (await isRunning(db, pid)) await new Promise((resolve) => setImmediate(resolve))
      await sql`select 1`.execute(transaction)
    })
    const error = await interrupted.then(
      () => undefined,
      (reason: unknown) => reason,
    )
    t.ok(isDatabaseUnavailable(error), String(error))
    t.strictSame((await sql`select 1 as one`.execute(db)).rows, [{ one: 1 }], 'the pool has replaced it')
  },
)
