import { v7 as uuidv7 } from 'uuid'
import { type AuditActor, recordAuditEvent } from '../audit/queries.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow, Method, TokenKind } from '../db/tables.ts'
import { matchPathOf } from '../places/place.ts'
import { savePlaces } from '../places/queries.ts'
import { requireSettled, requireUnclaimed } from '../token-lifecycle/claim.ts'
import { saveReplacedToken } from '../token-lifecycle/queries.ts'
import { isRefreshable } from '../token-lifecycle/refresh-decision.ts'
import type { Vault } from '../vault/vault.ts'
import type { Places } from './find-places.ts'
import { type Identity, insertConnection, lockConnectionByIdentity, updateSettings } from './queries.ts'

export type ConnectedToken = {
  organization: string
  instanceId: string
  method: Method
  kind: TokenKind
  user: { id: string; username: string | null; name: string | null }
  /** One at least. */
  places: Places
  name?: string | undefined
  oauthAppId: string | null
  autoRotate: boolean
  accessToken: string
  refreshToken: string | null
  scopes: string[]
  issuedAt: Date
  expiresAt: Date | null
  verifiedAt: Date | null
}

export type SavedConnection = { id: string; created: boolean }

/** Work in the transaction that saves a connection. What it throws undoes both. */
export type Alongside = (transaction: Database) => Promise<void>

/**
 * Stores a token that a person just gave us.
 *
 * - A new identity: a new connection.
 * - A known identity with another token: the same connection with a newer token version.
 * - A known identity with the same token: only what GitLab says of the token is updated.
 * - A token that cannot be refreshed never replaces one that can.
 *
 * @param alongside runs in the same transaction: both happen, or neither.
 */
export const saveConnection = async (
  db: Database,
  vault: Vault,
  token: ConnectedToken,
  event: AuditActor & { at: Date },
  alongside: Alongside = async () => undefined,
): Promise<SavedConnection> => {
  // Before the transaction: the embedded database has one connection.
  const tokenHash = await vault.tokenHash(token.accessToken)
  return db.transaction().execute(async (transaction) => {
    const identity: Identity = {
      organization: token.organization,
      instance_id: token.instanceId,
      method: token.method,
      gitlab_user_id: token.user.id,
      group_path: matchPathOf(token.places[0].path),
    }
    await alongside(transaction)
    let existing = await lockConnectionByIdentity(transaction, identity)
    if (!existing) {
      const id = uuidv7()
      if (await insertConnection(transaction, await toNewRow(vault, id, identity, token, event.at))) {
        await savePlaces(transaction, { id, ...identity }, token.places)
        await record(transaction, 'connection.created', { id, version: 1, tokenHash }, token, event)
        return { id, created: true }
      }
      // Another request inserted the same identity first.
      existing = await lockConnectionByIdentity(transaction, identity)
      if (!existing) throw new Error('A connection was inserted and deleted in one moment')
    }
    const { id, status } = existing
    requireUnclaimed(existing, event.at)
    if (status === 'active' && isRefreshable(existing) && token.refreshToken === null) {
      const { name } = token
      await updateSettings(transaction, id, name === undefined ? {} : { name }, event.at)
      return { id, created: false }
    }
    const changes = await toChanges(vault, existing, token, event.at)
    await saveReplacedToken(transaction, id, changes)
    const stored = { id, version: changes.token_version, tokenHash }
    await savePlaces(transaction, existing, token.places)
    await record(transaction, 'connection.reconnected', stored, token, event)
    return { id, created: false }
  })
}

const record = (
  transaction: Database,
  action: 'connection.created' | 'connection.reconnected',
  stored: { id: string; version: number; tokenHash: string | undefined },
  { organization, instanceId, kind, method }: ConnectedToken,
  event: AuditActor & { at: Date },
) =>
  recordAuditEvent(transaction, {
    ...event,
    action,
    organization,
    subjectId: stored.id,
    tokenHash: stored.tokenHash,
    details: { token_kind: kind, method, token_version: stored.version, instance_id: instanceId },
  })

const sealTokens = async (
  vault: Vault,
  ownerId: string,
  version: number,
  { accessToken, refreshToken }: ConnectedToken,
) => ({
  token_version: version,
  grant_id: uuidv7(),
  access_token: await vault.seal(accessToken, { ownerId, version, use: 'access' }),
  refresh_token:
    refreshToken === null ? null : await vault.seal(refreshToken, { ownerId, version, use: 'refresh' }),
})

const facts = (token: ConnectedToken, now: Date) => ({
  token_kind: token.kind,
  gitlab_username: token.user.username,
  gitlab_name: token.user.name,
  oauth_app_id: token.oauthAppId,
  auto_rotate: token.autoRotate,
  scopes: token.scopes,
  token_issued_at: token.issuedAt,
  token_expires_at: token.expiresAt,
  last_verified_at: token.verifiedAt,
  updated_at: now,
})

const toNewRow = async (vault: Vault, id: string, identity: Identity, token: ConnectedToken, now: Date) => ({
  id,
  ...identity,
  ...facts(token, now),
  ...(await sealTokens(vault, id, 1, token)),
  name: token.name ?? null,
  status: 'active' as const,
  failure_count: 0,
  created_at: now,
})

const toChanges = async (vault: Vault, existing: ConnectionRow, token: ConnectedToken, now: Date) => {
  const { id, token_version, access_token, refresh_token } = existing
  const known = await vault.open(access_token, { ownerId: id, version: token_version, use: 'access' })
  const isSameToken = known === token.accessToken && token.refreshToken === null
  if (isSameToken) requireSettled(existing, now)
  const tokens = isSameToken
    ? { token_version, access_token, refresh_token }
    : await sealTokens(vault, id, token_version + 1, token)
  return {
    ...facts(token, now),
    ...tokens,
    ...(token.name === undefined ? {} : { name: token.name }),
  }
}
