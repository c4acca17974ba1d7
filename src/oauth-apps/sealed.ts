import type { Database } from '../db/database.ts'
import type { SealedTable } from '../vault/reseal.ts'
import { sealedColumn } from '../vault/sealed-column/queries.ts'

/** The client secrets, for `rotate-keys`. The version stays, so clients that are open go on. */
export const sealedOAuthApps = (db: Database): SealedTable =>
  sealedColumn(db, {
    table: 'oauth_apps',
    column: 'client_secret',
    use: 'client_secret',
    versionColumn: 'version',
  })
