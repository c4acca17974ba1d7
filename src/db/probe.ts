import { setTimeout as sleep } from 'node:timers/promises'
import { type Availability, causeOf } from './availability.ts'
import type { OpenDatabase } from './database.ts'
import { readSchemaState } from './migrate.ts'
import type { SchemaState } from './schema-state.ts'
import { ReadOnlyServerError } from './server.ts'

/** Shorter than the patience of those who ask for the readiness. */
const PROBE_LIMIT_MS = 2_500
/** Of a statement that could not write: a disk that is full or broken, a server that became a standby. */
const CANNOT_WRITE = /^(25006|53100|58...)$/

/** For how long it is believed: nothing is written while requests go elsewhere, so only the next ones can tell. */
const WRITE_TROUBLE_MS = 5_000

export type ProbedDatabase = Pick<OpenDatabase, 'db' | 'availability' | 'lineage' | 'readFacts' | 'clock'>

export type DatabaseProbe =
  | { failure: string; isReadOnly: boolean }
  | { writeTrouble: string | undefined; schema: SchemaState }

const lastWriteTrouble = ({ lastTrouble }: Availability): string | undefined => {
  const trouble = lastTrouble()
  if (trouble?.code === undefined || !CANNOT_WRITE.test(trouble.code)) return undefined
  return performance.now() - trouble.at < WRITE_TROUBLE_MS ? trouble.cause : undefined
}

const look = async ({ db, availability, readFacts }: ProbedDatabase): Promise<DatabaseProbe> => {
  const { standby, read_only } = await readFacts()
  const writeTrouble =
    standby || read_only ? 'The database server is read-only.' : lastWriteTrouble(availability)
  return { writeTrouble, schema: await readSchemaState(db) }
}

/** Asks the database what it is now. Never throws, and answers in time. */
export const probeDatabase = async (database: ProbedDatabase): Promise<DatabaseProbe> => {
  const late = new AbortController()
  try {
    return await Promise.race([
      look(database),
      sleep(PROBE_LIMIT_MS, undefined, { signal: late.signal }).then(
        (): DatabaseProbe => ({
          failure: 'The database does not answer in time.',
          isReadOnly: false,
        }),
      ),
    ])
  } catch (error) {
    const isReadOnly =
      error instanceof ReadOnlyServerError || (error as { code?: unknown } | null)?.code === '25006'
    return { failure: causeOf(error), isReadOnly }
  } finally {
    late.abort()
  }
}
