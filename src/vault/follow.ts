import type { Logger } from 'pino'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { KeyRing } from './key-ring.ts'
import { resealAll, type SealedTable } from './reseal.ts'
import { hasEarlierDataKey, isDataKeyDue, makeDataKey, retireUnusedDataKeys } from './rotate-keys.ts'
import type { Vault } from './vault.ts'

const FOLLOW_EVERY_MS = 30_000
/** A run of the job ends by itself; the next one goes on. */
const RESEAL_LIMIT_MS = 60_000

/** Lets a data key that another process made become the current one here, within half a minute. */
export const followDataKeys = (keyRing: Pick<KeyRing, 'follow'>, logger: Logger): (() => void) => {
  const timer = setInterval(() => {
    keyRing
      .follow()
      .catch((error: unknown) => logger.warn({ err: error }, 'the data keys could not be read anew'))
  }, FOLLOW_EVERY_MS)
  timer.unref()
  return () => clearInterval(timer)
}

type RenewDeps = {
  db: Database
  masterKeys: Uint8Array[]
  clock: Clock
  keyRing: KeyRing
  vault: Vault
  logger: Logger
  tables: SealedTable[]
  maxAgeDays: number
}

/** Makes a data key when the current one is too old, and encrypts anew what is not under the current one. */
export const renewDataKey = async (deps: RenewDeps): Promise<void> => {
  const { keyRing, vault, logger, tables, maxAgeDays } = deps
  if (await isDataKeyDue(deps, maxAgeDays)) {
    const made = await makeDataKey(deps)
    if (made !== undefined) logger.info({ data_key: made }, 'new data key')
  }
  await keyRing.follow()
  // Reading every row once an hour for nothing would be a waste.
  if (!(await hasEarlierDataKey(deps))) return
  const end = performance.now() + RESEAL_LIMIT_MS
  const { done, damaged } = await resealAll({ keyRing, vault }, tables, {
    isOver: () => performance.now() > end,
  })
  const retired = await retireUnusedDataKeys(deps, tables)
  if (done > 0 || retired.length > 0) logger.info({ rows: done, retired }, 'encrypted anew')
  if (damaged.length > 0) logger.error({ damaged }, 'ciphertexts that do not open were left as they are')
}
