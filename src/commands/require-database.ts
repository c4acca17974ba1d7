import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Config } from '../config/config.ts'
import { DataFolderError } from '../config/data-folder.ts'

/** For commands about what is stored: a mistyped DATA_DIR would make an empty database with a new key. @throws {DataFolderError} */
export const requireDatabase = ({ databaseUrl, dataDir }: Pick<Config, 'databaseUrl' | 'dataDir'>): void => {
  if (databaseUrl === undefined && !existsSync(join(dataDir, 'pglite')))
    throw new DataFolderError(`There is no database in ${resolve(dataDir)}: set DATA_DIR or DATABASE_URL.`)
}
