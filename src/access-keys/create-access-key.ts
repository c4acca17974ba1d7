import { v7 as uuidv7 } from 'uuid'
import { recordAuditEvent } from '../audit/queries.ts'
import type { Origin, Principal } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { AccessKeyRow } from '../db/tables.ts'
import { invalidField } from '../errors/problem.ts'
import { type Granted, readGranted } from './granted.ts'
import { generateAccessKey, hashAccessKey } from './key-format.ts'
import { onlyOrganization } from './organizations.ts'
import { insertAccessKey } from './queries.ts'

export type WantedAccessKey = Granted & { name: string; expires_at?: string | undefined }

/**
 * Makes an access key that grants no more than its maker holds.
 * @returns the key itself beside its row: it is stored nowhere.
 * @throws {Problem} invalid_request, forbidden, not_found (organization)
 */
export const createAccessKey = async (
  { db, clock }: { db: Database; clock: Clock },
  { name, expires_at, ...wanted }: WantedAccessKey,
  principal: Principal,
  origin: Origin,
): Promise<{ row: AccessKeyRow; key: string }> => {
  const granted = await readGranted(wanted, principal)
  const now = new Date(clock())
  const expiresAt = expires_at === undefined ? null : new Date(expires_at)
  if (expiresAt && expiresAt <= now) throw invalidField('expires_at', 'lies in the past')
  const key = generateAccessKey(granted.role)
  const row = await db.transaction().execute(async (transaction) => {
    const inserted = await insertAccessKey(transaction, {
      ...granted,
      id: uuidv7(),
      name,
      key_sha256: hashAccessKey(key),
      created_at: now,
      expires_at: expiresAt,
    })
    await recordAuditEvent(transaction, {
      at: now,
      action: 'access_key.created',
      organization: onlyOrganization(granted.organizations),
      accessKeyId: principal.id,
      subjectId: inserted.id,
      ...origin,
      details: {
        name,
        role: granted.role,
        organizations: granted.organizations.join(' '),
        read_only: granted.read_only,
        url_prefixes: granted.restricted_url_prefixes?.join(' ') ?? null,
        connections: granted.restricted_connections?.join(' ') ?? null,
      },
    })
    return inserted
  })
  return { row, key }
}
