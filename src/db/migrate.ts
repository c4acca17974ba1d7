import { readdir } from 'node:fs/promises'
import { type Migration, Migrator } from 'kysely/migration'
import type { OpenDatabase } from './database.ts'

const FOLDER = new URL('../../migrations/', import.meta.url)
const FILE_NAME = /^\d{4}_\w+\.ts$/

const loadMigrations = async (): Promise<Record<string, Migration>> => {
  const files = (await readdir(FOLDER)).filter((name) => FILE_NAME.test(name)).sort()
  const modules = await Promise.all(files.map((name) => import(new URL(name, FOLDER).href)))
  return Object.fromEntries(
    files.map((name, index) => [name.replace(/\.ts$/, ''), modules[index] as Migration]),
  )
}

/**
 * Brings the database to the newest schema. Safe to run from many processes at once: Kysely takes an advisory lock.
 * @returns the names of the migrations that were applied now.
 */
export const migrateToLatest = async ({ patientDb }: Pick<OpenDatabase, 'patientDb'>): Promise<string[]> => {
  const migrator = new Migrator({ db: patientDb, provider: { getMigrations: loadMigrations } })
  const { error, results } = await migrator.migrateToLatest()
  if (error) throw error
  return (results ?? [])
    .filter(({ status }) => status === 'Success')
    .map(({ migrationName }) => migrationName)
}
