import { parseArgs } from 'node:util'
import { readConfig } from '../config/config.ts'
import { masterKeysOf } from '../config/master-key.ts'
import { openDatabase } from '../db/open.ts'
import { sealedTables } from '../sealed-tables.ts'
import { type DataKeyStatus, describeDataKeys } from '../vault/rotate-keys.ts'
import { requireDatabase } from './require-database.ts'

/** What `keys status` prints, line by line; pure. */
export const describeKeys = (
  { keys, unknown }: { keys: DataKeyStatus[]; unknown: number },
  masterKeyCount: number,
): string[] => {
  const lines: string[] = []
  for (let place = 0; place < masterKeyCount; place += 1) {
    const wrapped = keys.filter(({ masterKey }) => masterKey === place)
    const ciphertexts = wrapped.reduce((sum, key) => sum + key.ciphertexts, 0)
    const verdict =
      place === 0
        ? 'the current one'
        : wrapped.length === 0
          ? 'nothing needs it: it may go'
          : 'still needed: run rotate-keys'
    lines.push(`master key ${place + 1}: ${wrapped.length} data keys, ${ciphertexts} ciphertexts; ${verdict}`)
  }
  const foreign = keys.filter(({ masterKey }) => masterKey === undefined)
  if (foreign.length > 0)
    lines.push(`a master key that is not configured: ${foreign.length} data keys; brokers do not start`)
  for (const { id, createdAt, current, retired, ciphertexts } of keys) {
    const state = current ? 'current' : retired ? 'retired' : 'no longer used for new ciphertexts'
    lines.push(`data key ${id} of ${createdAt.toISOString()}: ${ciphertexts} ciphertexts; ${state}`)
  }
  if (unknown > 0) lines.push(`${unknown} ciphertexts name no data key of this database: they do not open`)
  return lines
}

/** `keys status`: how many ciphertexts need which key, and whether an old master key may go. */
export const keysStatus = async (args: string[]): Promise<void> => {
  parseArgs({ args, options: {} })
  const config = readConfig(process.env)
  requireDatabase(config)
  const masterKeys = masterKeysOf(config)
  const { db, close } = openDatabase({ ...config, poolSize: 1 })
  try {
    const status = await describeDataKeys({ db, masterKeys }, sealedTables(db))
    process.stdout.write(`${describeKeys(status, masterKeys.length).join('\n')}\n`)
    if (status.unknown > 0 || status.keys.some(({ masterKey }) => masterKey === undefined))
      process.exitCode = 1
  } finally {
    await close()
  }
}
