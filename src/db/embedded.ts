import { join, resolve } from 'node:path'
import type { PGlite } from '@electric-sql/pglite'
import { Kysely, PGliteDialect } from 'kysely'
import { createFollowingClock } from '../clock/following-clock.ts'
import { DataFolderError, ensureWritable, isFull } from '../config/data-folder.ts'
import { createAvailability } from './availability.ts'
import type { JobStore, OpenDatabase, PreparedStatement, RunPrepared } from './database.ts'
import { createLineage } from './lineage.ts'
import { ownFolder } from './owner.ts'
import { readFacts } from './server.ts'
import type { Tables } from './tables.ts'

/** Numbers of types in pg_type. */
const BYTEA = 17
const INT8 = 20
/** What rows hold is the same as from a server: pg gives a Buffer, and text for numbers that JavaScript does not have. */
const AS_PG_HAS_IT = {
  [BYTEA]: (text: string) => Buffer.from(text.slice('\\x'.length), 'hex'),
  [INT8]: (text: string) => text,
}

/** PGlite says "failed to initialize" whatever the cause. */
const openPglite = async (folder: string): Promise<PGlite> => {
  try {
    // Loaded only here: whoever has a PostgreSQL does not pay for a second one.
    const { PGlite } = await import('@electric-sql/pglite')
    return await PGlite.create(folder, { parsers: AS_PG_HAS_IT })
  } catch (error) {
    ensureWritable(folder)
    const cause = isFull(folder)
      ? 'the disk is full'
      : `its files do not open (${error instanceof Error && error.message ? error.message : 'unknown cause'})`
    throw new DataFolderError(`The embedded database in ${resolve(folder)} cannot be opened: ${cause}.`)
  }
}

/**
 * PGlite in a folder: a PostgreSQL in this process, which takes one statement at a time.
 * @throws {DataFolderError}
 */
export const openEmbedded = (dataDir: string): OpenDatabase => {
  const folder = join(dataDir, 'pglite')
  ensureWritable(dataDir)
  const disown = ownFolder(dataDir)
  ensureWritable(folder)
  // Its clock is the one of this machine: when that is set back, tokens must not get longer lives.
  const clock = createFollowingClock({ mayGoBack: false })
  const availability = createAvailability()
  let opened: Promise<PGlite> | undefined
  const open = () => {
    opened ??= openPglite(folder)
    return opened
  }
  const db = new Kysely<Tables>({
    dialect: new PGliteDialect({ pglite: open }),
    log: (event) => (event.level === 'error' ? availability.failed(event.error) : availability.worked()),
  })
  const runPrepared: RunPrepared = async <Row>({ text }: PreparedStatement, values: unknown[]) => {
    try {
      const { rows } = await (await open()).query<Row>(text, values)
      availability.worked()
      return rows
    } catch (error) {
      availability.failed(error)
      throw error
    }
  }
  let store: JobStore | undefined
  const jobStore: JobStore = {
    async executeSql(text, values) {
      store ??= (await import('pg-boss')).fromPglite(await open())
      return store.executeSql(text, values)
    },
  }
  const query = async (text: string) => (await open()).query(text)
  return {
    db,
    patientDb: db,
    kind: 'embedded',
    runPrepared,
    jobStore,
    clock,
    availability,
    lineage: createLineage(),
    async readFacts() {
      // First: the clock is read from how long the question takes.
      await open()
      return readFacts({ query }, clock)
    },
    async close() {
      await db.destroy()
      const pglite = await opened?.catch(() => undefined)
      if (pglite && !pglite.closed) await pglite.close()
      disown()
    },
  }
}
