import type { InstanceRow, OAuthAppRow } from '../db/tables.ts'
import { type Refusal, refusalOf } from '../gitlab/refusal.ts'
import type { InstanceClients } from '../instances/instance-clients.ts'
import type { Vault } from '../vault/vault.ts'
import { openClientSecret } from './save-oauth-app.ts'

export type Revocation = { revoked: true } | { revoked: false; refusal: Refusal | undefined }

/** Revokes an OAuth token pair at GitLab (RFC 7009). Either half revokes both: doorkeeper keeps them in one row. */
export const revokeToken = async (
  { vault, instanceClients }: { vault: Vault; instanceClients: InstanceClients },
  app: OAuthAppRow,
  instance: InstanceRow,
  token: string,
): Promise<Revocation> => {
  const answer = await instanceClients.for(instance).send({
    method: 'POST',
    path: '/oauth/revoke',
    form: { token },
    basicAuth: { username: app.client_id, password: await openClientSecret(vault, app) },
  })
  if (answer.kind === 'answer' && answer.status === 200) return { revoked: true }
  return { revoked: false, refusal: refusalOf(answer, instance.base_url) }
}
