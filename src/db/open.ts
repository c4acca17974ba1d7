import type { DatabaseOptions, OpenDatabase } from './database.ts'
import { openEmbedded } from './embedded.ts'
import { openPostgresql } from './postgresql.ts'

export const openDatabase = ({ databaseUrl, ...options }: DatabaseOptions): OpenDatabase =>
  databaseUrl === undefined ? openEmbedded(options.dataDir) : openPostgresql({ ...options, databaseUrl })
