import type { ConnectionWithInstance } from '../token-lifecycle/queries.ts'
import type { LeasedToken } from './lease-token.ts'
import type { OpenedTokens } from './opened-tokens.ts'
import type { GivenLease } from './queries.ts'

/** Whether the token that a lease is about is still the one of its connection, and the lease counts. */
export const isLeaseCurrent = (
  lease: Pick<GivenLease, 'token_version' | 'released_at'>,
  row: ConnectionWithInstance | undefined,
): row is ConnectionWithInstance =>
  row !== undefined &&
  row.status === 'active' &&
  row.token_version === lease.token_version &&
  lease.released_at === null

/** The token of a lease that was given before. Only for a lease that is current. */
export const readLeased = async (
  openedTokens: OpenedTokens,
  leaseId: string,
  row: ConnectionWithInstance,
): Promise<LeasedToken> => {
  const { id, organization, base_url, token_kind, token_version, scopes, token_expires_at, access_token } =
    row
  return {
    row: {
      lease_id: leaseId,
      connection_id: id,
      organization,
      base_url,
      token_kind,
      token_version,
      scopes,
      token_expires_at,
      access_token,
      refused: null,
    },
    token: await openedTokens.open({ connection_id: id, token_version, access_token }),
  }
}
