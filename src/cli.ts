import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createApp } from './app.ts'
import { systemClock } from './clock/clock.ts'
import { migrate } from './commands/migrate.ts'
import { roles } from './commands/roles.ts'
import { ConfigError } from './config/config.ts'
import type { Database } from './db/database.ts'
import { migrateToLatest } from './db/migrate.ts'
import { openDatabase } from './db/open.ts'
import { dumpSchema } from './db/schema-dump.ts'
import { openApiYaml } from './http/api-docs.ts'
import { createLogger } from './log.ts'

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
  const { app } = await createApp({
    db: {} as Database,
    runPrepared: () => Promise.reject(new Error('no database')),
    keyRing: { current: () => Promise.reject(), byId: () => Promise.reject() } as never,
    clock: systemClock,
    logger: createLogger('silent'),
    config: {
      publicUrl: 'http://127.0.0.1:8080',
      returnOrigins: [],
      trustProxy: false,
      dataDir: './data',
      leaseRetentionDays: 1,
    },
  })
  process.stdout.write(await openApiYaml(app))
  await app.close()
}

const COMMANDS: Record<string, (args: string[]) => Promise<void>> = { migrate, roles, schema, openapi }

const [name = '', ...args] = process.argv.slice(2)
const command = COMMANDS[name]
if (!command) {
  process.stderr.write(`Usage: node src/cli.ts ${Object.keys(COMMANDS).join(' | ')}\n`)
  process.exit(2)
}
await command(args).catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof ConfigError || error instanceof Error ? error.message : 'unknown error'}\n`,
  )
  process.exit(1)
})
