import { addSeconds, startOfSecond } from '../clock/clock.ts'
import type { AuthorizationRequestRow } from '../db/tables.ts'
import { refusalProblem } from '../gitlab/refusal.ts'
import { revokeToken } from '../oauth-apps/revoke-token.ts'
import type { TokenSet } from '../oauth-apps/token-answer.ts'
import type { Vault } from '../vault/vault.ts'
import { requireApp } from './authorization-app.ts'
import type { FlowDeps } from './flow-deps.ts'
import { forgetGrant, markToDrop, saveGrant } from './queries.ts'

/** A GitLab user, as a person is asked about them. */
export type GrantUser = { id: string; username: string | null; name: string | null }

/** What GitLab issued; with the user to whom it belongs, once GitLab has said that. */
export type StoredGrant = TokenSet & { issuedAt: string; user?: GrantUser }

/** As long as GitLab may be away before we stop trying to revoke there. */
const REVOKING_SECONDS = 86_400

const bindingOf = ({ id }: { id: string }) => ({ ownerId: id, version: 1, use: 'grant' }) as const

export const sealGrant = (vault: Vault, request: { id: string }, grant: StoredGrant): Promise<string> =>
  vault.seal(JSON.stringify(grant), bindingOf(request))

export const openGrant = async (vault: Vault, id: string, grantJwe: string): Promise<StoredGrant> =>
  JSON.parse(await vault.open(grantJwe, bindingOf({ id }))) as StoredGrant

/** Save first: what GitLab just issued exists nowhere else. */
export const keepGrant = async (
  { db, vault, clock }: FlowDeps,
  request: AuthorizationRequestRow,
  tokenSet: TokenSet,
  sentAt: Date,
): Promise<AuthorizationRequestRow> => {
  const now = new Date(clock())
  const grant: StoredGrant = { ...tokenSet, issuedAt: startOfSecond(sentAt).toISOString() }
  const grantJwe = await sealGrant(vault, request, grant)
  await saveGrant(db, request.id, grantJwe, now)
  return { ...request, grant_jwe: grantJwe, granted_at: now }
}

/**
 * Gives a grant up: GitLab revokes it, then it is forgotten. Marked first, so that nobody makes a connection of it
 * meanwhile, and so that the background job goes on where GitLab or this process fails. Does nothing to a grant that
 * has become a connection.
 */
export const dropGrant = async (deps: FlowDeps, id: string): Promise<void> => {
  const marked = await markToDrop(deps.db, id)
  if (marked) await revokeGrant(deps, marked)
}

/** Revokes a grant that is marked to be dropped, and forgets it; while GitLab does not answer it stays for a day. */
const revokeGrant = async (
  deps: FlowDeps,
  { id, oauth_app_id, grant_jwe, created_at }: AuthorizationRequestRow,
): Promise<void> => {
  const { db, vault, clock, logger } = deps
  if (grant_jwe === null) return
  const { app, instance } = await requireApp(db, { id: oauth_app_id })
  const { accessToken } = await openGrant(vault, id, grant_jwe)
  const revocation = await revokeToken(deps, app, instance, accessToken)
  const given = addSeconds(created_at, REVOKING_SECONDS) <= new Date(clock())
  if (!revocation.revoked) {
    const { refusal } = revocation
    logger.warn({ authorization_request: id, reason: refusal?.code }, 'a declined grant was not revoked')
    if (refusal?.code === 'gitlab_unavailable' && !given) throw refusalProblem(refusal)
  }
  await forgetGrant(db, id)
}
