import type { Database } from '../db/database.ts'
import type { SealedTable } from '../vault/reseal.ts'
import { sealedColumn } from '../vault/sealed-column/queries.ts'

/** The codes of device grants that wait for a person, for `rotate-keys`. */
export const sealedDeviceCodes = (db: Database): SealedTable =>
  sealedColumn(db, { table: 'authorization_requests', column: 'device_jwe', use: 'device' })

/** What GitLab issued and no connection has yet, for `rotate-keys`. */
export const sealedGrants = (db: Database): SealedTable =>
  sealedColumn(db, { table: 'authorization_requests', column: 'grant_jwe', use: 'grant' })
