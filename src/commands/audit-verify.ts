import { parseArgs } from 'node:util'
import { verifyAudit } from '../audit/seals/verify-audit.ts'
import { systemClock } from '../clock/clock.ts'
import { readConfig } from '../config/config.ts'
import { masterKeysOf } from '../config/master-key.ts'
import { openDatabase } from '../db/open.ts'
import { createLeaseDigests } from '../leases/record/digest.ts'
import { openKeyRing } from '../vault/key-ring.ts'
import { createNamedKeys } from '../vault/named-keys.ts'
import { createVault } from '../vault/vault.ts'
import { requireDatabase } from './require-database.ts'

const NOTED_SEAL = /^(\d{1,15}):([0-9a-f]{64})$/

const readNotedSeal = (text: string | undefined): { id: number; sha256: string } | undefined => {
  if (text === undefined) return undefined
  const [, id, sha256] = NOTED_SEAL.exec(text) ?? []
  if (id === undefined || sha256 === undefined)
    throw new Error('--seal takes <id>:<sha256>, as the line "audit seal" of the log has them')
  return { id: Number(id), sha256 }
}

/**
 * `audit verify [--seal <id>:<sha256>]`: recomputes the audit chain, and names what is missing or was altered. With a seal
 * that was noted elsewhere it also finds a chain whose end was cut off or that was made anew.
 */
export const auditVerify = async (args: string[]): Promise<void> => {
  const { values } = parseArgs({ args, options: { seal: { type: 'string' } } })
  const expected = readNotedSeal(values.seal)
  const config = readConfig(process.env)
  requireDatabase(config)
  // Without time limits: the whole record is read.
  const { patientDb: db, close } = openDatabase({ ...config, poolSize: 1 })
  try {
    const vault = createVault(await openKeyRing(db, masterKeysOf(config), systemClock))
    const namedKeys = createNamedKeys({ db, vault, clock: systemClock })
    const report = await verifyAudit({ db, namedKeys, leaseDigests: createLeaseDigests(db) }, { expected })
    const { seals, events, leaseHours, faults, notices } = report
    for (const notice of notices) process.stdout.write(`note: ${notice}\n`)
    for (const fault of faults) process.stdout.write(`FAULT: ${fault}\n`)
    process.stdout.write(
      `${faults.length === 0 ? 'The record is whole' : 'The record is NOT whole'}: ${seals} seals, ${events} events, ${leaseHours} hours of leases.\n`,
    )
    if (faults.length > 0) process.exitCode = 1
  } finally {
    await close()
  }
}
