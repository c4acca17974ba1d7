import { DataFolderError, ensureWritable } from '../config/data-folder.ts'
import { type ProbedDatabase, probeDatabase } from '../db/probe.ts'
import type { SchemaState } from '../db/schema-state.ts'
import {
  type DatabaseFacts,
  type HistoryFacts,
  judgeReadiness,
  type ProcessState,
  type Readiness,
} from './readiness.ts'

const describeSchema = (schema: SchemaState): { usable: boolean; detail: string } => {
  switch (schema.kind) {
    case 'current':
      return { usable: true, detail: 'All migrations of this version are there.' }
    case 'newer':
      return {
        usable: true,
        detail: `A newer version added ${schema.unknown.join(', ')}; this one can live with that.`,
      }
    case 'to_migrate':
      return { usable: false, detail: `These migrations are missing: ${schema.missing.join(', ')}.` }
    case 'unusable':
      return { usable: false, detail: schema.reason }
  }
}

const lookAtFolder = (folder: string): string | undefined => {
  try {
    ensureWritable(folder)
    return undefined
  } catch (error) {
    if (error instanceof DataFolderError) return error.message
    throw error
  }
}

export type ReadinessDeps = {
  database: ProbedDatabase
  state: ProcessState
  spoolFolder: string
  history: HistoryFacts
}

/** Looks anew at everything that readiness depends on. */
export const lookAtReadiness = async ({
  database,
  state,
  spoolFolder,
  history,
}: ReadinessDeps): Promise<Readiness> => {
  const probe = await probeDatabase(database)
  const facts: DatabaseFacts = 'failure' in probe ? probe : { ...probe, schema: describeSchema(probe.schema) }
  return judgeReadiness({
    state,
    database: facts,
    spoolTrouble: lookAtFolder(spoolFolder),
    history,
    clockAheadMs: database.clock.aheadMs(),
  })
}
