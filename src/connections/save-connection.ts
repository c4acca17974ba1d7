import { v7 as uuidv7 } from 'uuid'
import { type AuditActor, recordAuditEvent } from '../audit/queries.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow, Method, TokenKind } from '../db/tables.ts'
import { hasScope } from '../gitlab/scopes.ts'
import { findPlaces, savePlaces } from '../places/queries.ts'
import { requireSettled, requireUnclaimed } from '../token-lifecycle/claim.ts'
import { saveReplacedToken } from '../token-lifecycle/queries.ts'
import { isRefreshable } from '../token-lifecycle/refresh-decision.ts'
import type { Vault } from '../vault/vault.ts'
import type { Places } from './find-places.ts'
import { areSamePlaces, besides, identityPathOf } from './identity.ts'
import { type Account, insertConnection, lockConnectionsOfAccount, updateSettings } from './queries.ts'

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
  /** undefined = as it was; a new connection does not rotate. */
  autoRotate: boolean | undefined
  /** undefined = as they were. */
  labels?: Record<string, string> | undefined
  accessToken: string
  refreshToken: string | null
  scopes: string[]
  issuedAt: Date
  expiresAt: Date | null
  verifiedAt: Date | null
}

export type SavedConnection = {
  id: string
  created: boolean
  /** A connection was there, and has this token now. */
  replaced: boolean
}

/** Work in the transaction that saves a connection. What it throws undoes both. */
export type Alongside = (transaction: Database) => Promise<void>

export type SaveOptions = {
  /** Runs in the same transaction: both happen, or neither. */
  alongside?: Alongside | undefined
  /** Makes another connection, also where the account has one for the same places. */
  separate?: boolean | undefined
}

export type EventOrigin = AuditActor & { at: Date }

/**
 * Stores a token that a person just gave us.
 *
 * - An account with other places than it has connected: a new connection.
 * - The same account and places with another token: the same connection with a newer token version.
 * - The same with the same token: only what GitLab says of the token is updated.
 * - A token that cannot be refreshed never replaces one that can.
 */
export const saveConnection = async (
  db: Database,
  vault: Vault,
  token: ConnectedToken,
  event: EventOrigin,
  { alongside = async () => undefined, separate = false }: SaveOptions = {},
): Promise<SavedConnection> => {
  // Before the transaction: the embedded database has one connection.
  const tokenHash = await vault.tokenHash(token.accessToken)
  return db.transaction().execute(async (transaction) => {
    const account: Account = {
      organization: token.organization,
      instance_id: token.instanceId,
      method: token.method,
      gitlab_user_id: token.user.id,
    }
    await alongside(transaction)
    const existing = separate ? undefined : await findSame(transaction, account, token.places)
    if (existing) return renew(transaction, vault, existing, token, { tokenHash, event })
    const id = uuidv7()
    const path = identityPathOf(token.places)
    const insert = async (groupPath: string) =>
      insertConnection(
        transaction,
        await toNewRow(vault, id, { ...account, group_path: groupPath }, token, event.at),
      )
    if (separate || !(await insert(path))) {
      // Another request may have connected the same at this moment. Else another place had this path before.
      const first = separate ? undefined : await findSame(transaction, account, token.places)
      if (first) return renew(transaction, vault, first, token, { tokenHash, event })
      await insert(besides(path, id))
    }
    await savePlaces(transaction, { id, ...account }, token.places)
    await record(transaction, 'connection.created', { id, version: 1, tokenHash }, token, event)
    return { id, created: true, replaced: false }
  })
}

/** The connection of an account that covers the same places. */
const findSame = async (
  transaction: Database,
  account: Account,
  places: Places,
): Promise<ConnectionRow | undefined> => {
  const rows = await lockConnectionsOfAccount(transaction, account)
  const covered = await findPlaces(
    transaction,
    rows.map(({ id }) => id),
  )
  return rows.find(({ id }) => areSamePlaces(places, covered.get(id) ?? []))
}

type Renewal = { tokenHash: string | undefined; event: EventOrigin }

const renew = async (
  transaction: Database,
  vault: Vault,
  existing: ConnectionRow,
  token: ConnectedToken,
  { tokenHash, event }: Renewal,
): Promise<SavedConnection> => {
  const { id, status } = existing
  requireUnclaimed(existing, event.at)
  if (status === 'active' && isRefreshable(existing) && token.refreshToken === null) {
    const { name, labels } = token
    const settings = { ...(name === undefined ? {} : { name }), ...(labels === undefined ? {} : { labels }) }
    await updateSettings(transaction, id, settings, event.at)
    return { id, created: false, replaced: false }
  }
  const version = await storeInPlace(transaction, vault, existing, token, event.at)
  await record(transaction, 'connection.reconnected', { id, version, tokenHash }, token, event)
  return { id, created: false, replaced: true }
}

/** Puts a token, with what it covers, in the place of the stored one. @returns the version of the token. */
export const storeInPlace = async (
  transaction: Database,
  vault: Vault,
  existing: ConnectionRow,
  token: ConnectedToken,
  now: Date,
): Promise<number> => {
  const changes = await toChanges(vault, existing, token, now)
  await saveReplacedToken(transaction, existing.id, changes)
  await savePlaces(transaction, existing, token.places)
  if (token.labels !== undefined)
    await updateSettings(transaction, existing.id, { labels: token.labels }, now)
  return changes.token_version
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
  scopes: token.scopes,
  token_issued_at: token.issuedAt,
  token_expires_at: token.expiresAt,
  last_verified_at: token.verifiedAt,
  updated_at: now,
})

const toNewRow = async (
  vault: Vault,
  id: string,
  identity: Account & Pick<ConnectionRow, 'group_path'>,
  token: ConnectedToken,
  now: Date,
) => ({
  id,
  ...identity,
  ...facts(token, now),
  ...(await sealTokens(vault, id, 1, token)),
  name: token.name ?? null,
  auto_rotate: token.autoRotate ?? false,
  ...(token.labels === undefined ? {} : { labels: token.labels }),
  status: 'active' as const,
  failure_count: 0,
  created_at: now,
})

const toChanges = async (vault: Vault, existing: ConnectionRow, token: ConnectedToken, now: Date) => {
  const { id, token_version, access_token, refresh_token } = existing
  const binding = { ownerId: id, version: token_version, use: 'access' } as const
  // A token that does not open can be replaced too.
  const known = await vault.open(access_token, binding).catch(() => undefined)
  const isSameToken = known === token.accessToken && token.refreshToken === null
  if (isSameToken) requireSettled(existing, now)
  const tokens = isSameToken
    ? { token_version, access_token, refresh_token }
    : await sealTokens(vault, id, token_version + 1, token)
  const mayRotate = token.method === 'token' && hasScope(token.scopes, 'self_rotate')
  return {
    ...facts(token, now),
    ...tokens,
    auto_rotate: token.autoRotate ?? (existing.auto_rotate && mayRotate),
    ...(token.name === undefined ? {} : { name: token.name }),
  }
}
