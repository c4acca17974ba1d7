import type { Logger } from 'pino'
import { findTokenOrigin, recordAuditEvent } from '../audit/queries.ts'
import type { Actor } from '../callers/principal.ts'
import type { ConnectionRow, InstanceRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { refusalOf } from '../gitlab/refusal.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { findInstance } from '../instances/queries.ts'
import { findOAuthApp } from '../oauth-apps/queries.ts'
import { revokeToken } from '../oauth-apps/revoke-token.ts'
import { findPlaces } from '../places/queries.ts'
import { type Claim, claimForPerson } from '../token-lifecycle/claim.ts'
import { withKeptClaim } from '../token-lifecycle/kept-claim.ts'
import { releaseClaim } from '../token-lifecycle/queries.ts'
import type { TokenSaver } from '../token-lifecycle/token-saver.ts'
import { VaultError } from '../vault/vault.ts'
import { deleteConnection } from './queries.ts'

export type DisconnectDeps = GitLabAccess & { logger: Logger; tokenSaver: Pick<TokenSaver, 'forget'> }

/** What still has to be done by hand at GitLab; undefined = nothing. */
export type Disconnected = { leftToRevoke: { reason: string; where: string } | undefined }

/**
 * Revokes the token at GitLab, then deletes the connection. The claim keeps a refresh from issuing a new pair in
 * between. When GitLab does not revoke the token, the connection is deleted all the same, and the answer says what is
 * left to do.
 * @throws {Problem} not_found, gitlab_unavailable (another change of the token came first)
 */
export const disconnect = async (
  deps: DisconnectDeps,
  connectionId: string,
  { revoke }: { revoke: boolean },
  actor: Actor,
): Promise<Disconnected> => {
  const { db, clock } = deps
  const claim = await claimForPerson(deps, connectionId, 'disconnect', { drained: false })
  const { row, attemptId } = claim
  const instance = await findInstance(db, row.instance_id)
  const failure = revoke && instance ? await whatIsLeft(deps, claim, instance) : undefined
  const { tokenHash } = await findTokenOrigin(db, { connectionId: row.id, tokenVersion: row.token_version })
  const [place] = (await findPlaces(db, [row.id])).get(row.id) ?? []
  await db.transaction().execute(async (transaction) => {
    // A late answer to an earlier refresh was saved meanwhile: its token is not revoked yet.
    if (!(await deleteConnection(transaction, row.id, attemptId))) throw overtaken()
    await recordAuditEvent(transaction, {
      at: new Date(clock()),
      action: 'connection.deleted',
      organization: row.organization,
      subjectId: row.id,
      tokenHash,
      details: { revoked_at_gitlab: revoke && failure === undefined, token_kind: row.token_kind },
      ...actor,
    })
  })
  await deps.tokenSaver.forget(row.id)
  if (!instance || failure === undefined) return { leftToRevoke: undefined }
  return { leftToRevoke: { reason: failure, where: pageFor(row, place?.path ?? '', instance) } }
}

const overtaken = (): Problem =>
  new Problem('gitlab_unavailable', 'Another change of this token came first. Disconnect once more.', {
    retryAfterSeconds: 1,
  })

/** The page of GitLab on which a person revokes the token. */
const pageFor = ({ method, token_kind }: ConnectionRow, path: string, { base_url }: InstanceRow): string => {
  if (method === 'oauth') return `${base_url}/-/user_settings/applications`
  if (token_kind === 'group_access_token') return `${base_url}/groups/${path}/-/settings/access_tokens`
  if (token_kind === 'project_access_token') return `${base_url}/${path}/-/settings/access_tokens`
  return `${base_url}/-/user_settings/personal_access_tokens`
}

/** @returns what may still be valid at GitLab; undefined = nothing. */
const whatIsLeft = async (
  deps: DisconnectDeps,
  claim: Claim,
  instance: InstanceRow,
): Promise<string | undefined> => {
  const { row, attemptId } = claim
  const revoking = () => revokeAtGitLab(deps, row, instance)
  const failure = await withKeptClaim(deps, claim, revoking).catch(async (error: unknown) => {
    // A connection whose secret does not open can be deleted too.
    if (error instanceof VaultError) return `${error.message}: the token could not be revoked.`
    await releaseClaim(deps.db, row.id, attemptId).catch(() => undefined)
    throw error
  })
  const isAnswerLost = row.unanswered_since !== null || ANSWER_LOST.has(row.failure_code)
  if (failure !== undefined || !isAnswerLost) return failure
  return 'GitLab may have issued a new token whose answer was lost; that one could not be revoked.'
}

const ANSWER_LOST: ReadonlySet<string | null> = new Set(['refresh_answer_lost', 'rotation_answer_lost'])

/** @returns why the token could not be revoked. undefined = it is revoked, or was dead already. */
const revokeAtGitLab = async (
  { db, vault, instanceClients }: DisconnectDeps,
  row: ConnectionRow,
  instance: InstanceRow,
): Promise<string | undefined> => {
  const token = await vault.open(row.access_token, {
    ownerId: row.id,
    version: row.token_version,
    use: 'access',
  })
  if (row.method === 'token') {
    const client = instanceClients.for(instance)
    const answer = await client.send({ method: 'DELETE', path: '/api/v4/personal_access_tokens/self', token })
    if (answer.kind === 'answer' && answer.status === 204) return undefined
    const refusal = refusalOf(answer, instance.base_url)
    const wasDead =
      refusal !== undefined && ['token_revoked', 'token_expired', 'token_unknown'].includes(refusal.code)
    return wasDead ? undefined : (refusal?.detail ?? 'GitLab did not revoke the token.')
  }
  const app = row.oauth_app_id === null ? undefined : await findOAuthApp(db, row.oauth_app_id)
  if (!app)
    return 'The token was obtained elsewhere: only the application that it was issued to can revoke it.'
  const revocation = await revokeToken({ vault, instanceClients }, app, instance, token)
  if (revocation.revoked) return undefined
  return revocation.refusal?.detail ?? 'GitLab did not let the OAuth app revoke its token.'
}
