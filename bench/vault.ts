import { systemClock } from '../src/clock/clock.ts'
import type { Database } from '../src/db/database.ts'
import { openKeyRing } from '../src/vault/key-ring.ts'
import { createVault, type Vault } from '../src/vault/vault.ts'

export const MASTER_KEY = Buffer.alloc(32, 9).toString('base64')

export const openVault = async (db: Database): Promise<Vault> =>
  createVault(await openKeyRing(db, [new Uint8Array(Buffer.from(MASTER_KEY, 'base64'))], systemClock))
