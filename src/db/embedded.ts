import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { PGlite } from '@electric-sql/pglite'
import { Kysely, PGliteDialect } from 'kysely'
import type { JobStore, OpenDatabase, PreparedStatement, RunPrepared } from './database.ts'
import type { Tables } from './tables.ts'

/** PGlite in a folder: a PostgreSQL in this process, which takes one statement at a time. */
export const openEmbedded = (dataDir: string): OpenDatabase => {
  const folder = join(dataDir, 'pglite')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  // Loaded only here: a process with a real PostgreSQL does not pay for a second one.
  let opened: Promise<PGlite> | undefined
  const open = () => {
    opened ??= import('@electric-sql/pglite').then(({ PGlite }) => PGlite.create(folder))
    return opened
  }
  const db = new Kysely<Tables>({ dialect: new PGliteDialect({ pglite: open }) })
  const runPrepared: RunPrepared = async <Row>({ text }: PreparedStatement, values: unknown[]) =>
    (await (await open()).query<Row>(text, values)).rows
  let store: JobStore | undefined
  const jobStore: JobStore = {
    async executeSql(text, values) {
      store ??= (await import('pg-boss')).fromPglite(await open())
      return store.executeSql(text, values)
    },
  }
  return { db, patientDb: db, kind: 'embedded', runPrepared, jobStore, close: () => db.destroy() }
}
