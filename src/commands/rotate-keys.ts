import { parseArgs } from 'node:util'
import { recordAuditEvents } from '../audit/queries.ts'
import { systemClock } from '../clock/clock.ts'
import { readConfig } from '../config/config.ts'
import { masterKeysOf } from '../config/master-key.ts'
import { openDatabase } from '../db/open.ts'
import { sealedTables } from '../sealed-tables.ts'
import { openKeyRing } from '../vault/key-ring.ts'
import { resealAll } from '../vault/reseal.ts'
import { isDataKeyDue, makeDataKey, retireUnusedDataKeys, rewrapDataKeys } from '../vault/rotate-keys.ts'
import { createVault } from '../vault/vault.ts'
import { createProgressBar } from './progress.ts'
import { requireDatabase } from './require-database.ts'

const POOL_SIZE = 4

const say = (text: string) => process.stdout.write(`${text}\n`)

/**
 * `rotate-keys [--new-data-key]`: wraps the data keys under the first master key, and encrypts anew what is not under the
 * newest data key. Brokers go on serving. Ended in the middle, the next run goes on where this one stopped.
 */
export const rotateKeys = async (args: string[]): Promise<void> => {
  const { values } = parseArgs({ args, options: { 'new-data-key': { type: 'boolean', default: false } } })
  const config = readConfig(process.env)
  requireDatabase(config)
  const clock = systemClock
  const masterKeys = masterKeysOf(config)
  const { db, close } = openDatabase({ ...config, poolSize: POOL_SIZE })
  try {
    const keys = { db, masterKeys, clock }
    const wrapped = await rewrapDataKeys(keys)
    say(`Data keys wrapped under the first master key: ${wrapped}`)
    const isDue = values['new-data-key'] || (await isDataKeyDue(keys, config.dataKeyMaxAgeDays))
    const made = isDue ? await makeDataKey(keys) : undefined
    if (made !== undefined) say(`New data key: ${made}`)

    const keyRing = await openKeyRing(db, masterKeys, clock)
    const tables = sealedTables(db)
    const { done, left, damaged } = await resealAll({ keyRing, vault: createVault(keyRing) }, tables, {
      onProgress: createProgressBar(process.stderr),
    })
    const retired = await retireUnusedDataKeys(keys, tables)
    say(`Rows encrypted anew: ${done}`)
    if (left > 0) say(`Rows in use all the time, left for the next run: ${left}`)
    if (retired.length > 0) say(`Retired data keys: ${retired.join(', ')}`)
    for (const { table, id } of damaged) say(`Does not open, left as it is: ${table} ${id}`)

    const at = new Date(clock())
    await recordAuditEvents(db, [
      {
        at,
        action: 'keys.rotated',
        outcome: damaged.length > 0 ? 'failed' : 'success',
        details: { wrapped, rows: done, new_data_key: made ?? null, damaged: damaged.length },
      },
      ...damaged.map(({ table, id }) => ({
        at,
        action: 'secret.tampered' as const,
        outcome: 'failed' as const,
        subjectId: id,
        details: { table },
      })),
    ])
    if (damaged.length > 0 || left > 0) process.exitCode = 1
  } finally {
    await close()
  }
}
