import { sql } from 'kysely'
import t from 'tap'
import { type Database, isDatabaseUnavailable } from '../../src/db/database.ts'
import { createTestDatabase } from '../support/database.ts'

const PID = { name: 'pid', text: 'select pg_backend_pid() as pid' }
const DIVIDE = { name: 'divide', text: 'select pg_backend_pid() as pid, 1 / $1::int as result' }
const END = { name: 'end', text: 'select pg_terminate_backend(pg_backend_pid())' }
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
  const [{ pid }] = (await runPrepared<Pid>(PID, [])) as [Pid]
  const [refused, behind] = await Promise.allSettled([
    runPrepared(DIVIDE, [0]),
    runPrepared<Pid>(DIVIDE, [1]),
  ])
  t.match(refused, { status: 'rejected', reason: { code: '22012' } })
  t.match(behind, { status: 'fulfilled', value: [{ pid, result: 1 }] }, 'on the same connection')
})

t.test('a connection on which a statement failed is not used again', async (t) => {
  const { db, runPrepared } = await createTestDatabase(t)
  for (let round = 0; round < 5; round += 1) {
    await t.rejects(runPrepared(END, []), { code: '57P01' })
    t.match(await runPrepared(DIVIDE, [1]), [{ result: 1 }], 'the next has another')
  }
  await sql`create table thing (size int)`.execute(db)
  const read = { name: 'read', text: 'select size from thing' }
  await runPrepared(read, [])
  await sql`alter table thing alter column size type bigint`.execute(db)
  t.same(await runPrepared(read, []), [], 'which has no plans of before')
})

t.test('a statement that the server process has forgotten, as behind a pooler, is sent again', async (t) => {
  const { runPrepared } = await createTestDatabase(t)
  const [before] = await runPrepared<Pid>(PID, [])
  await runPrepared({ name: 'forget', text: 'deallocate all' }, [])
  const [after] = await runPrepared<Pid>(PID, [])
  t.not(after!.pid, before!.pid, 'on another connection')
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
