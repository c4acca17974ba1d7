import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql, type Transaction } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import type { Database, OpenDatabase } from './database.ts'
import { lockMigrations } from './migration-dialect.ts'
import { type MigrationWait, type Waits, watchWaits } from './migration-waits.ts'
import { judgeSchema, type SchemaState } from './schema-state.ts'
import type { Tables } from './tables.ts'

/**
 * A migration of a rolling upgrade first expands: versions before it run beside it. One that takes away what the version
 * before still uses comes a version later, and names the migration that a version must know to live with it.
 */
export type MigrationModule = Migration & { oldestNeighbour?: string }

/**
 * A migration holds some tables while it waits for others, which a lookup of a running broker may have in another order.
 * It gives way long before PostgreSQL would look for a deadlock (1 s), and fail the lookup.
 */
const TABLE_PATIENCE_MS = 200
/** Of each tenth try: transactions that are longer than the usual patience, one after the other, would starve it. */
const LONG_TABLE_PATIENCE_MS = 900
const LONG_EVERY = 10
const PAUSE_MS = 250
/** Of a lock that was not to be had in time, and of a deadlock. */
const GAVE_WAY = new Set(['55P03', '40P01'])

const FOLDER = new URL('../../migrations/', import.meta.url)
const FILE_NAME = /^\d{4}_\w+\.ts$/
/**
 * The migrations that the first versions brought along, and the tables in which Kysely remembers what it has applied.
 * Those versions refuse to start when their table has a name that they do not know, so later migrations have another.
 */
const FIRST = ['0001_initial', '0002_lookups_by_url', '0003_match_versions']
const FIRST_TABLE = 'kysely_migration'
const LATER_TABLE = 'kysely_later_migration'

/** The schema is none that this version can work on. */
export class SchemaError extends Error {
  constructor(reason: string) {
    super(reason)
    this.name = 'SchemaError'
  }
}

const loadMigrations = async (): Promise<Record<string, MigrationModule>> => {
  const files = (await readdir(FOLDER)).filter((name) => FILE_NAME.test(name)).sort()
  const modules = await Promise.all(files.map((name) => import(new URL(name, FOLDER).href)))
  return Object.fromEntries(
    files.map((name, index) => [name.replace(/\.ts$/, ''), modules[index] as MigrationModule]),
  )
}

/** Written by the migration itself, in its transaction. Kept as a comment, which no version before stumbles over. */
const declareNeighbour = async (db: Database, name: string): Promise<void> => {
  await sql`comment on table ${sql.table(LATER_TABLE)} is ${sql.lit(name)}`.execute(db)
}

const withDeclaration = ({ oldestNeighbour, ...migration }: MigrationModule): Migration =>
  oldestNeighbour === undefined
    ? migration
    : {
        ...migration,
        up: async (db) => {
          await migration.up(db)
          await declareNeighbour(db, oldestNeighbour)
        },
      }

const namesIn = async (db: Database, table: string): Promise<string[]> => {
  const { rows } = await sql<{ name: string }>`select name from ${sql.table(table)} order by name`.execute(db)
  return rows.map(({ name }) => name)
}

type Found = { first: string | null; later: string | null; neighbour: string | null }

/** How the schema of a database stands to this version. */
export const readSchemaState = async (
  db: Database,
  migrations?: Record<string, MigrationModule>,
): Promise<SchemaState> => {
  const ours = Object.keys(migrations ?? (await loadMigrations()))
  const { rows } = await sql<Found>`
    select to_regclass(${FIRST_TABLE})::text as first, to_regclass(${LATER_TABLE})::text as later,
      obj_description(to_regclass(${LATER_TABLE}), 'pg_class') as neighbour`.execute(db)
  const { first, later, neighbour } = rows[0]!
  const applied = [
    ...(first === null ? [] : await namesIn(db, FIRST_TABLE)),
    ...(later === null ? [] : await namesIn(db, LATER_TABLE)),
  ]
  return judgeSchema(applied, ours, neighbour ?? undefined)
}

const applyAll = async (
  db: Transaction<Tables>,
  migrations: Record<string, Migration>,
  migrationTableName: string,
): Promise<string[]> => {
  const migrator = new Migrator({
    db,
    migrationTableName,
    provider: { getMigrations: async () => migrations },
  })
  const { error, results } = await migrator.migrateToLatest()
  if (error) throw error
  return (results ?? [])
    .filter(({ status }) => status === 'Success')
    .map(({ migrationName }) => migrationName)
}

export type MigrateResult = {
  /** Names of the migrations that were applied now. */
  applied: string[]
  /** Names of those that a newer version has applied, and that this one can live with. */
  unknown: string[]
}

export type MigrateOptions = {
  /** Those of this version when left out. */
  migrations?: Record<string, MigrationModule> | undefined
  /** Told when it waits for somebody's locks for some seconds, and then each minute. */
  onWaiting?: ((wait: MigrationWait) => void) | undefined
}

/**
 * Brings the database to the newest schema; leaves one alone that a newer version has brought further. Safe to run from
 * many processes at once: one transaction, under a lock that ends with it. Broken off at any moment, it is the same as not
 * begun.
 * @throws {SchemaError}
 */
export const migrate = async (
  database: Pick<OpenDatabase, 'patientDb' | 'db' | 'kind'>,
  { migrations, onWaiting = () => undefined }: MigrateOptions = {},
): Promise<MigrateResult> => {
  const { patientDb } = database
  const ours = migrations ?? (await loadMigrations())
  const done = judge(await readSchemaState(patientDb, ours))
  if (done) return done
  const waits = watchWaits(database, onWaiting)
  try {
    for (let tries = 1; ; tries += 1) {
      const patienceMs = tries % LONG_EVERY === 0 ? LONG_TABLE_PATIENCE_MS : TABLE_PATIENCE_MS
      const result = await migrateOnce(patientDb, ours, { patienceMs, waits })
      if (result) return result
      await sleep(PAUSE_MS)
    }
  } finally {
    waits.stop()
  }
}

/** @returns undefined when it gave way to somebody who has a lock. */
const migrateOnce = async (
  patientDb: Database,
  ours: Record<string, MigrationModule>,
  { patienceMs, waits }: { patienceMs: number; waits: Waits },
): Promise<MigrateResult | undefined> => {
  try {
    return await patientDb.transaction().execute(async (transaction) => {
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(transaction)
      waits.watch(rows[0]!.pid)
      await lockMigrations(transaction)
      await sql`set local lock_timeout = ${sql.lit(patienceMs)}`.execute(transaction)
      // Another process may have been first, one of a newer version too.
      return judge(await readSchemaState(transaction, ours)) ?? (await apply(transaction, ours))
    })
  } catch (error) {
    if (GAVE_WAY.has((error as { code?: string }).code ?? '')) return undefined
    throw error
  }
}

/** @returns undefined = there is something to do. */
const judge = (state: SchemaState): MigrateResult | undefined => {
  switch (state.kind) {
    case 'unusable':
      throw new SchemaError(state.reason)
    case 'newer':
      return { applied: [], unknown: state.unknown }
    case 'current':
      return { applied: [], unknown: [] }
    case 'to_migrate':
      return undefined
  }
}

const apply = async (
  transaction: Transaction<Tables>,
  ours: Record<string, MigrationModule>,
): Promise<MigrateResult> => {
  const entries = Object.entries(ours).map(([name, module]) => [name, withDeclaration(module)] as const)
  const isFirst = (name: string) => FIRST.includes(name)
  const applied = [
    ...(await applyAll(
      transaction,
      Object.fromEntries(entries.filter(([name]) => isFirst(name))),
      FIRST_TABLE,
    )),
    ...(await applyAll(
      transaction,
      Object.fromEntries(entries.filter(([name]) => !isFirst(name))),
      LATER_TABLE,
    )),
  ]
  return { applied, unknown: [] }
}

/** @returns the names of the migrations that were applied now. */
export const migrateToLatest = async (
  database: Pick<OpenDatabase, 'patientDb' | 'db' | 'kind'>,
): Promise<string[]> => (await migrate(database)).applied
