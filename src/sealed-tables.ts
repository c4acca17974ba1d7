import type { Database } from './db/database.ts'
import { sealedOAuthApps } from './oauth-apps/sealed.ts'
import { sealedDeviceCodes, sealedGrants } from './oauth-flow/sealed.ts'
import { sealedConnections } from './token-lifecycle/reseal/queries.ts'
import { sealedSigningKeys } from './vault/named-keys.ts'
import type { SealedTable } from './vault/reseal.ts'

/** Every table that holds ciphertexts: what `rotate-keys` encrypts anew and `keys status` counts. */
export const sealedTables = (db: Database): SealedTable[] => [
  sealedSigningKeys(db),
  sealedOAuthApps(db),
  sealedGrants(db),
  sealedDeviceCodes(db),
  sealedConnections(db),
]
