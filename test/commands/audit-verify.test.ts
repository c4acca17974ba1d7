import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { MASTER_KEY, setStage } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'

const CLI = new URL('../../src/cli.ts', import.meta.url).pathname

const verify = async (t: Test, url: string, ...args: string[]) => {
  const child = spawn(process.execPath, [CLI, 'audit', 'verify', ...args], {
    env: {
      PATH: process.env.PATH ?? '',
      DATABASE_URL: url,
      MASTER_KEY: Buffer.from(MASTER_KEY).toString('base64'),
      DATA_DIR: t.testdirName,
    },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk
    })
  const [code] = await once(child, 'close')
  return { code, output }
}

t.test('audit verify says whether the record is whole, and ends with 1 when it is not', async (t) => {
  const database = await createTestDatabase(t)
  const { broker } = await setStage(t, { broker: { database } })
  await sql`update audit_unsealed set queued_at = queued_at - interval '2 minutes'`.execute(database.db)
  await broker.jobs.sealAudit()
  const line = broker.logLines.find((text) => text.includes('audit seal'))
  const { seal, audit } = JSON.parse(line!)
  t.equal(audit, true)
  t.match(
    broker.logLines.filter((text) => text.includes('"audit event"')).map((text) => JSON.parse(text)),
    [
      { audit: true, event: { action: 'instance.created', outcome: 'success' } },
      { audit: true, event: { action: 'oauth_app.created' } },
    ],
  )
  t.match(await verify(t, database.url, '--seal', `1:${seal.sha256}`), {
    code: 0,
    output: 'The record is whole: 1 seals, 2 events, 0 hours of leases.\n',
  })

  await sql`alter table audit_seals disable trigger user`.execute(database.db)
  await sql`delete from audit_seals`.execute(database.db)
  const { code, output } = await verify(t, database.url, '--seal', `1:${seal.sha256}`)
  t.equal(code, 1)
  t.match(output, /^FAULT: Seal 1, which was noted elsewhere, is missing: the chain ends at 0\.$/m)
  t.match(output, /^FAULT: Event .* is in no seal and waits for none/m)
  t.match(output, /^The record is NOT whole: 0 seals/m)
})

t.test('a command about what is stored makes no database where there is none', async (t) => {
  const folder = join(t.testdir(), 'mistyped')
  for (const command of [['keys', 'status'], ['audit', 'verify'], ['rotate-keys']]) {
    const child = spawn(process.execPath, [CLI, ...command], {
      env: { PATH: process.env.PATH ?? '', DATA_DIR: folder },
    })
    let output = ''
    child.stderr.on('data', (chunk) => {
      output += chunk
    })
    const [code] = await once(child, 'close')
    t.equal(code, 1, command.join(' '))
    t.equal(output, `There is no database in ${folder}: set DATA_DIR or DATABASE_URL.\n`)
    t.notOk(existsSync(folder))
  }
})
