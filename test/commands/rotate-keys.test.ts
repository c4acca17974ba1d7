import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { systemClock } from '../../src/clock/clock.ts'
import type { Database } from '../../src/db/database.ts'
import { sealedTables } from '../../src/sealed-tables.ts'
import { openKeyRing, WrongMasterKeyError } from '../../src/vault/key-ring.ts'
import { countByDataKey } from '../../src/vault/rotate-keys.ts'
import { createVault } from '../../src/vault/vault.ts'
import { MASTER_KEY, type Stage, setStage, startTestBroker, type TestBroker } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { connect, HALF_LIFE, lookUp, rowOf } from '../support/lifecycle.ts'

const BETWEEN_LOOKUPS_MS = 10
const CLI = new URL('../../src/cli.ts', import.meta.url).pathname
const NEW_MASTER_KEY = new Uint8Array(32).fill(8)
const base64 = (key: Uint8Array) => Buffer.from(key).toString('base64')
const BOTH = `${base64(NEW_MASTER_KEY)},${base64(MASTER_KEY)}`

/** Many ciphertexts: copies of a connection, each with a token of its own. */
const addConnections = async (db: Database, original: string, count: number): Promise<string[]> => {
  const vault = createVault(await openKeyRing(db, [MASTER_KEY], systemClock))
  const row = await db
    .selectFrom('connections')
    .selectAll()
    .where('id', '=', original)
    .executeTakeFirstOrThrow()
  const ids: string[] = []
  for (let number = 0; number < count; number += 500) {
    const copies = await Promise.all(
      Array.from({ length: 500 }, async (_, index) => {
        const id = uuidv7()
        const binding = { ownerId: id, version: row.token_version }
        return {
          ...row,
          id,
          gitlab_user_id: `copy-${number + index}`,
          access_token: await vault.seal(`FAKE-access-${id}`, { ...binding, use: 'access' }),
          refresh_token: await vault.seal(`FAKE-refresh-${id}`, { ...binding, use: 'refresh' }),
        }
      }),
    )
    await db.insertInto('connections').values(copies).execute()
    ids.push(...copies.map(({ id }) => id))
  }
  return ids
}

const start = (t: Test, url: string, args: string[], masterKey = BOTH) => {
  const child: ChildProcess = spawn(process.execPath, [CLI, ...args], {
    env: { PATH: process.env.PATH ?? '', DATABASE_URL: url, MASTER_KEY: masterKey, DATA_DIR: t.testdirName },
  })
  const output = { stdout: '', stderr: '' }
  child.stdout?.on('data', (chunk) => {
    output.stdout += chunk
  })
  child.stderr?.on('data', (chunk) => {
    output.stderr += chunk
  })
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...output }))
  t.teardown(async () => {
    if (child.exitCode === null) child.kill('SIGKILL')
    await ended
  })
  return { child, output, ended }
}

const run = (t: Test, url: string, args: string[], masterKey?: string) => start(t, url, args, masterKey).ended

/** Every ciphertext of the database opens, with these master keys alone. @returns how many. */
const openAll = async (db: Database, masterKeys: Uint8Array[]): Promise<number> => {
  const vault = createVault(await openKeyRing(db, masterKeys, systemClock))
  let count = 0
  for (const table of sealedTables(db)) {
    for (const { sealed } of await table.findOthers('', undefined, 100_000)) {
      for (const { jwe, binding } of sealed) {
        await vault.open(jwe, binding)
        count += 1
      }
    }
  }
  return count
}

/** Scanners that look up and make refreshes happen, until told to stop. @returns what did not succeed. */
const keepScanning = (stage: Stage, broker: TestBroker, ids: string[]) => {
  const failures: string[] = []
  let lookups = 0
  let stopping = false
  const scan = async (id: string) => {
    while (!stopping) {
      const { status, text } = await lookUp({ broker }, id)
      lookups += 1
      if (status !== 200) failures.push(text)
      // The command needs the processor, too.
      await pause(BETWEEN_LOOKUPS_MS)
    }
  }
  const grow = async () => {
    while (!stopping) {
      // Past the half of their lives, with no lease left: the next lookup of each refreshes.
      stage.clock.advance(HALF_LIFE)
      const before = lookups
      while (!stopping && lookups < before + 4 * ids.length) await pause(BETWEEN_LOOKUPS_MS)
    }
  }
  const working = Promise.all([...ids.map(scan), grow()])
  return async () => {
    stopping = true
    await working
    return { failures, lookups }
  }
}

t.test(
  'keys are rotated while lookups and refreshes go on, and a run that is killed is finished by the next',
  async (t) => {
    const database = await createTestDatabase(t)
    const { db, url } = database
    const stage = await setStage(t, { broker: { database } })
    const ids = await Promise.all(Array.from({ length: 4 }, () => connect(stage)))
    const copies = await addConnections(db, ids[0]!, 2_000)
    await stage.broker.get('/.well-known/jwks.json', { key: null })
    const [oldDataKey] = await db.selectFrom('data_keys').select('id').execute()
    // The first step of an operator: brokers that know both keys.
    const broker = await startTestBroker(t, {
      database,
      clock: stage.clock,
      masterKeys: [NEW_MASTER_KEY, MASTER_KEY],
    })
    const counts = () => countByDataKey(sealedTables(db))
    const total = [...(await counts()).values()].reduce((sum, count) => sum + count)
    const before = await run(t, url, ['keys', 'status'])
    t.match(before.stdout, /^master key 1: 0 data keys, 0 ciphertexts; the current one$/m)
    t.match(before.stdout, /^master key 2: 1 data keys, \d+ ciphertexts; still needed: run rotate-keys$/m)

    const stopScanning = keepScanning(stage, broker, ids)
    await t.test('killed in the middle', async (t) => {
      const { child, output, ended } = start(t, url, ['rotate-keys', '--new-data-key'])
      while (!/^connections: /m.test(output.stderr)) await once(child.stderr!, 'data')
      child.kill('SIGKILL')
      t.equal((await ended).code, null)
      const left = (await counts()).get(oldDataKey!.id) ?? 0
      t.ok(left > 0 && left < total, `${left} of ${total} are left`)
      t.match(
        (await run(t, url, ['keys', 'status'])).stdout,
        /^master key 2: 0 data keys, 0 ciphertexts; nothing needs it: it may go$/m,
      )
    })

    await t.test('finished by the next run', async (t) => {
      const { code, stdout, stderr } = await run(t, url, ['rotate-keys'])
      t.equal(code, 0, stderr)
      t.match(stdout, /^Data keys wrapped under the first master key: 0$/m)
      t.match(stdout, /^Rows encrypted anew: [1-9]\d*$/m)
      t.match(stderr, /^connections: \d+ of \d+ \(100 %\)$/m)
      const left = (await counts()).get(oldDataKey!.id) ?? 0
      t.ok(left <= 2 * ids.length, `${left}: at most what the broker wrote since`)
    })

    const { failures, lookups } = await stopScanning()
    t.same(failures, [], `${lookups} lookups`)
    const versions = await Promise.all(ids.map(async (id) => (await rowOf(stage, id)).token_version))
    t.ok(
      versions.every((version) => version > 2),
      `refreshed meanwhile: versions ${versions}`,
    )

    await t.test('the broker follows to the new data key, and encrypts what it wrote before', async (t) => {
      await broker.jobs.renewDataKey()
      t.equal((await counts()).get(oldDataKey!.id), undefined)
      const { code, stdout } = await run(t, url, ['keys', 'status'])
      t.equal(code, 0)
      t.match(stdout, new RegExp(`^data key ${oldDataKey!.id} of .*: 0 ciphertexts; retired$`, 'm'))
      t.match(stdout, new RegExp(`^data key .*: ${total} ciphertexts; current$`, 'm'))
      stage.clock.advance(HALF_LIFE)
      t.equal((await lookUp({ broker }, ids[0]!)).status, 200)
      t.equal((await counts()).get(oldDataKey!.id), undefined, 'a new token is under the new data key')
    })

    await t.test('then the old master key may go: everything opens without it', async (t) => {
      t.equal(await openAll(db, [NEW_MASTER_KEY]), total)
      const vault = createVault(await openKeyRing(db, [NEW_MASTER_KEY], systemClock))
      const [copy = ''] = copies
      const { access_token, token_version } = await rowOf(stage, copy)
      const binding = { ownerId: copy, version: token_version, use: 'access' } as const
      t.equal(await vault.open(access_token, binding), `FAKE-access-${copy}`)
      const last = await startTestBroker(t, { database, clock: stage.clock, masterKeys: [NEW_MASTER_KEY] })
      for (const id of ids) t.equal((await lookUp({ broker: last }, id)).status, 200)
      t.match(await last.get(`/v1/audit-events?action=keys.rotated`), {
        body: { items: [{ outcome: 'success', details: { damaged: 0 } }] },
      })
      await t.rejects(openKeyRing(db, [MASTER_KEY], systemClock), WrongMasterKeyError)
    })
  },
)

t.test('what does not open is left as it is, named, and recorded', async (t) => {
  const database = await createTestDatabase(t)
  const { db, url } = database
  const stage = await setStage(t, { broker: { database } })
  const id = await connect(stage)
  const other = await connect(stage)
  const { access_token } = await rowOf(stage, other)
  await db.updateTable('connections').set({ access_token }).where('id', '=', id).execute()
  const { code, stdout } = await run(t, url, ['rotate-keys', '--new-data-key'], base64(MASTER_KEY))
  t.equal(code, 1)
  t.match(stdout, `Does not open, left as it is: connections ${id}`)
  t.equal((await rowOf(stage, id)).access_token, access_token)
  t.equal(
    (await lookUp(stage, other)).status,
    200,
    'the others are encrypted anew, and a running broker opens them',
  )
  t.match(await stage.broker.get(`/v1/audit-events?connection_id=${id}&action=secret.tampered`), {
    body: { items: [{ outcome: 'failed', details: { table: 'connections' } }] },
  })
})

t.test('a wrong master key changes nothing and says so', async (t) => {
  const database = await createTestDatabase(t)
  await setStage(t, { broker: { database } })
  const dump = () => sql`select * from data_keys`.execute(database.db).then(({ rows }) => rows)
  const before = await dump()
  const { code, stderr } = await run(
    t,
    database.url,
    ['rotate-keys', '--new-data-key'],
    base64(NEW_MASTER_KEY),
  )
  t.equal(code, 1)
  t.match(stderr, /^MASTER_KEY does not open the data keys of this database/)
  t.same(await dump(), before)
  const status = await run(t, database.url, ['keys', 'status'], base64(NEW_MASTER_KEY))
  t.equal(status.code, 1)
  t.match(status.stdout, /^a master key that is not configured: 1 data keys; brokers do not start$/m)
})

t.test('an option that does not exist is refused', async (t) => {
  const { url } = await createTestDatabase(t)
  const wrong = [
    ['rotate-keys', '--FAKE'],
    ['keys', 'status', 'FAKE'],
    ['audit', 'verify', '--seal', 'FAKE'],
    ['keys'],
  ]
  const ended = await Promise.all(wrong.map((args) => run(t, url, args)))
  t.same(
    ended.map(({ code }) => code),
    [1, 1, 1, 2],
  )
})
