import { sql } from 'kysely'
import t from 'tap'
import { type Database, isDatabaseUnavailable } from '../../src/db/database.ts'
import { createTestDatabase } from '../support/database.ts'

const PID = { name: 'pid', text: 'select pg_backend_pid() as pid' }
const DIVIDE = { name: 'divide', text: 'select 1 / $1::int as result' }
const LOCK = { name: 'lock', text: 'select pg_backend_pid() as pid from pg_advisory_xact_lock_shared(7)' }
/** Longer than a statement may run for another to be sent behind it. */
const SLOW_MS = 20

type Pid = { pid: number }

const waitingForLock = async (db: Database): Promise<number[]> => {
  const { rows } = await sql<Pid>`
    select pid from pg_stat_activity
    where wait_event_type = 'Lock' and query like '%pg_advisory_xact_lock_shared%' and datname = current_database()
  `.execute(db)
  return rows.map(({ pid }) => pid)
}

/** The pid of the connection whose statement waits for the lock, once it has done so for long. */
const untilStuck = async (db: Database): Promise<number> => {
  const started = performance.now()
  for (;;) {
    const [pid] = await waitingForLock(db)
    if (pid !== undefined && performance.now() - started > SLOW_MS) return pid
  }
}

t.test('statements of one moment share a connection, two at the most', async (t) => {
  const { runPrepared } = await createTestDatabase(t)
  await runPrepared(PID, [])
  const rows = await Promise.all(Array.from({ length: 4 }, () => runPrepared<Pid>(PID, [])))
  const pids = rows.map(([row]) => row!.pid)
  t.equal(pids[0], pids[1])
  t.equal(pids[2], pids[3])
  t.not(pids[0], pids[2])
})

t.test('a statement that is refused does no harm to the one behind it', async (t) => {
  const { runPrepared } = await createTestDatabase(t)
  const [pid, refused, after] = await Promise.allSettled([
    runPrepared<Pid>(PID, []),
    runPrepared(DIVIDE, [0]),
    runPrepared(DIVIDE, [1]),
  ])
  t.equal(pid.status, 'fulfilled')
  t.match(refused, { status: 'rejected', reason: { code: '22012' } })
  t.match(after, { status: 'fulfilled', value: [{ result: 1 }] })
  t.match(await Promise.all([runPrepared(DIVIDE, [1]), runPrepared(DIVIDE, [-1])]), [
    [{ result: 1 }],
    [{ result: -1 }],
  ])
})

t.test('nothing is sent behind a statement that takes long', async (t) => {
  const { db, runPrepared } = await createTestDatabase(t)
  await db.transaction().execute(async (transaction) => {
    await sql`select pg_advisory_xact_lock(7)`.execute(transaction)
    const stuck = runPrepared<Pid>(LOCK, [])
    stuck.catch(() => undefined)
    const pid = await untilStuck(db)
    const [other] = await runPrepared<Pid>(PID, [])
    t.not(other!.pid, pid)
    t.same(await waitingForLock(db), [pid], 'which still waits')
  })
})

t.test('a connection that ends takes all that is in flight on it along, and nothing else', async (t) => {
  const { db, runPrepared } = await createTestDatabase(t)
  await runPrepared(PID, [])
  await db.transaction().execute(async (transaction) => {
    await sql`select pg_advisory_xact_lock(7)`.execute(transaction)
    const inFlight = Promise.allSettled([runPrepared<Pid>(LOCK, []), runPrepared<Pid>(PID, [])])
    await sql`select pg_terminate_backend(${await untilStuck(db)})`.execute(db)
    for (const outcome of await inFlight) {
      t.equal(outcome.status, 'rejected')
      t.ok(isDatabaseUnavailable((outcome as PromiseRejectedResult).reason), String(outcome))
    }
  })
  t.match(await Promise.all([runPrepared<Pid>(LOCK, []), runPrepared<Pid>(PID, [])]), [[{}], [{}]])
})
