import { parseDatabaseUrl } from '../config/database-url.ts'
import type { DatabaseOptions, OpenDatabase } from './database.ts'
import { openEmbedded } from './embedded.ts'
import { openPostgresql } from './postgresql.ts'

/** @throws {DataFolderError} when the folder of the embedded database cannot be written, or another process has it. */
export const openDatabase = ({ databaseUrl, ...options }: DatabaseOptions): OpenDatabase => {
  if (databaseUrl === undefined) return openEmbedded(options.dataDir)
  const parsed = parseDatabaseUrl(databaseUrl)
  if ('fault' in parsed) throw new Error(`DATABASE_URL ${parsed.fault}`)
  return openPostgresql({ ...options, databaseUrl, databaseUrls: parsed.urls })
}
