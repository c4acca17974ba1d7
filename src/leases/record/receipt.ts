import { SignJWT } from 'jose'
import { findTokenOrigin } from '../../audit/queries.ts'
import { hasRole, mayActIn, type Principal } from '../../callers/principal.ts'
import type { Clock } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import type { LeaseTableRow } from '../../db/tables.ts'
import { notFound } from '../../errors/problem.ts'
import { findInstance } from '../../instances/queries.ts'
import { findConnection } from '../../token-lifecycle/queries.ts'
import type { NamedKeys } from '../../vault/named-keys.ts'
import type { Vault } from '../../vault/vault.ts'
import { isHeldBy } from '../lease.ts'
import { findLease } from '../queries.ts'
import { toLease } from './lease.ts'

const TYPE = 'lease-receipt+jwt'

export type ReceiptDeps = {
  db: Database
  clock: Clock
  vault: Vault
  namedKeys: NamedKeys
  publicUrl: string
}

/**
 * A signed statement of what was handed out, to whom and when; without the token.
 * @returns JWS compact serialization (RFC 7515).
 * @throws {Problem} not_found: no such lease, or another key's.
 */
export const signReceipt = async (
  deps: ReceiptDeps,
  leaseId: string,
  principal: Principal,
): Promise<string> => {
  const lease = await findLease(deps.db, leaseId)
  const may = lease && (isHeldBy(lease, principal) || hasRole(principal, 'manager'))
  if (!may || !mayActIn(principal, lease.organization)) throw notFound('lease')
  const { instance, tokenHash } = await findToken(deps, lease)
  const { kid, alg, key } = await deps.namedKeys.receiptKey()
  const { id, ...facts } = toLease(lease)
  return new SignJWT({ lease_id: id, ...facts, instance, token_hash: tokenHash })
    .setProtectedHeader({ alg, kid, typ: TYPE })
    .setIssuer(deps.publicUrl)
    .setIssuedAt(new Date(deps.clock()))
    .setJti(id)
    .sign(key)
}

/** Which GitLab the token is of, and its hash: from the record of the act that brought it, else from the token itself. */
const findToken = async (
  { db, vault }: ReceiptDeps,
  { connection_id, token_version }: LeaseTableRow,
): Promise<{ instance: string | null; tokenHash: string | null }> => {
  const connection = await findConnection(db, connection_id)
  const origin = await findTokenOrigin(db, { connectionId: connection_id, tokenVersion: token_version })
  const recorded = origin.instanceId === undefined ? undefined : await findInstance(db, origin.instanceId)
  const instance = connection?.base_url ?? recorded?.base_url ?? null
  if (origin.tokenHash !== undefined) return { instance, tokenHash: origin.tokenHash }
  if (connection?.token_version !== token_version) return { instance, tokenHash: null }
  const token = await vault.open(connection.access_token, {
    ownerId: connection.id,
    version: token_version,
    use: 'access',
  })
  return { instance, tokenHash: (await vault.tokenHash(token)) ?? null }
}
