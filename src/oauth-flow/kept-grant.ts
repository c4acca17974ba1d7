import { recordAuditEvent } from '../audit/queries.ts'
import { addSeconds, startOfSecond } from '../clock/clock.ts'
import type { AuthorizationRequestRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { type Refusal, refusalProblem } from '../gitlab/refusal.ts'
import { revokeToken } from '../oauth-apps/revoke-token.ts'
import type { TokenSet } from '../oauth-apps/token-answer.ts'
import { type Vault, VaultError } from '../vault/vault.ts'
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

/** @param sentAt when the request was sent: the lifetime counts from then at the earliest. */
export const toStoredGrant = (tokenSet: TokenSet, sentAt: Date): StoredGrant => ({
  ...tokenSet,
  issuedAt: startOfSecond(sentAt).toISOString(),
})

/** Save first: what GitLab just issued exists nowhere else. */
export const keepGrant = async (
  { db, vault, clock }: FlowDeps,
  request: AuthorizationRequestRow,
  tokenSet: TokenSet,
  sentAt: Date,
): Promise<AuthorizationRequestRow> => {
  const now = new Date(clock())
  const grantJwe = await sealGrant(vault, request, toStoredGrant(tokenSet, sentAt))
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

/** Drops a grant now, or leaves that to the background job where GitLab does not answer. */
export const giveUpGrant = (deps: FlowDeps, id: string): Promise<void> =>
  dropGrant(deps, id).catch((error: unknown) => {
    if (!(error instanceof Problem)) throw error
  })

/** Revokes a grant that is marked to be dropped, and forgets it. While GitLab does not answer, the grant stays for a day. */
const revokeGrant = async (deps: FlowDeps, request: AuthorizationRequestRow): Promise<void> => {
  const { db, clock, logger } = deps
  const { id, created_at } = request
  const refusal = await revokeAtGitLab(deps, request)
  if (refusal)
    logger.warn({ authorization_request: id, reason: refusal.code }, 'a dropped grant was not revoked')
  const mayTryAgain = addSeconds(created_at, REVOKING_SECONDS) > new Date(clock())
  if (refusal?.code === 'gitlab_unavailable' && mayTryAgain) throw refusalProblem(refusal)
  await db.transaction().execute(async (transaction) => {
    const forgotten = await forgetGrant(transaction, id)
    if (!forgotten) return
    await recordAuditEvent(transaction, {
      at: new Date(clock()),
      action: 'grant.dropped',
      outcome: refusal ? 'failed' : 'success',
      organization: forgotten.organization,
      subjectId: id,
      details: { reason: refusal?.code ?? null },
    })
  })
}

/** @returns why GitLab did not revoke it. undefined = revoked, or there is nothing that could be revoked. */
const revokeAtGitLab = async (
  deps: FlowDeps,
  { id, oauth_app_id, grant_jwe }: AuthorizationRequestRow,
): Promise<Refusal | undefined> => {
  if (grant_jwe === null) return undefined
  const { app, instance } = await requireApp(deps.db, { id: oauth_app_id })
  try {
    const { accessToken } = await openGrant(deps.vault, id, grant_jwe)
    const revocation = await revokeToken(deps, app, instance, accessToken)
    return revocation.revoked ? undefined : revocation.refusal
  } catch (error) {
    // A secret that does not open keeps nobody from forgetting it.
    if (!(error instanceof VaultError)) throw error
    deps.logger.warn({ authorization_request: id }, 'a dropped grant does not open')
    return undefined
  }
}
