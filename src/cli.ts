import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from './clock/clock.ts'
import { ConfigError, readConfig } from './config/config.ts'
import type { Database } from './db/database.ts'
import { migrateToLatest } from './db/migrate.ts'
import { openDatabase } from './db/open.ts'
import { dumpSchema } from './db/schema-dump.ts'
import { openApiYaml } from './http/api-docs.ts'
import { createLogger } from './log.ts'

const migrate = async (): Promise<void> => {
  const config = readConfig(process.env)
  const { patientDb, close } = openDatabase({ ...config, poolSize: 1 })
  try {
    const applied = await migrateToLatest({ patientDb })
    process.stdout.write(
      applied.length > 0 ? `Applied ${applied.join(', ')}\n` : 'The schema is up to date\n',
    )
  } finally {
    await close()
  }
}

/** Prints migrations/schema.sql: what the migrations make of an empty database, here one for the moment. */
const schema = async (): Promise<void> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-schema-'))
  const { db, patientDb, close } = openDatabase({ databaseUrl: undefined, dataDir, poolSize: 1 })
  try {
    await migrateToLatest({ patientDb })
    process.stdout.write(await dumpSchema(db))
  } finally {
    await close()
    await rm(dataDir, { recursive: true, force: true })
  }
}

/** Prints openapi.yaml: the routes are described, never called, so they get no database and no keys. */
const openapi = async (): Promise<void> => {
  const { createApp } = await import('./app.ts')
  const { app } = await createApp({
    db: {} as Database,
    runPrepared: () => Promise.reject(new Error('no database')),
    keyRing: { current: () => Promise.reject(), byId: () => Promise.reject() } as never,
    masterKeys: [],
    clock: systemClock,
    logger: createLogger('silent'),
    config: {
      publicUrl: 'http://127.0.0.1:8080',
      returnOrigins: [],
      trustProxy: false,
      dataDir: './data',
      leaseRetentionDays: 1,
      auditRetentionDays: 1,
      dataKeyMaxAgeDays: 1,
    },
  })
  process.stdout.write(await openApiYaml(app))
  await app.close()
}

const COMMANDS: Record<string, (args: string[]) => Promise<void>> = {
  migrate,
  schema,
  openapi,
  // Each loads what it needs, and no more.
  'rotate-keys': async (args) => (await import('./commands/rotate-keys.ts')).rotateKeys(args),
  'keys status': async (args) => (await import('./commands/keys-status.ts')).keysStatus(args),
  'audit verify': async (args) => (await import('./commands/audit-verify.ts')).auditVerify(args),
}

const words = process.argv.slice(2)
/** The name of a command is one word or two. */
const length = [2, 1].find((count) => Object.hasOwn(COMMANDS, words.slice(0, count).join(' '))) ?? 0
const command = COMMANDS[words.slice(0, length).join(' ')]
if (!command) {
  process.stderr.write(`Usage: node src/cli.ts ${Object.keys(COMMANDS).join(' | ')}\n`)
  process.exit(2)
}
await command(words.slice(length)).catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof ConfigError || error instanceof Error ? error.message : 'unknown error'}\n`,
  )
  process.exit(1)
})
