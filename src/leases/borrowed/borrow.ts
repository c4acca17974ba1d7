import { EVERY_ORGANIZATION, type Principal, SERVICE_ID } from '../../callers/principal.ts'
import { addSeconds } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import { Problem } from '../../errors/problem.ts'
import { findLeaseEnds } from '../../token-lifecycle/claims/queries.ts'
import { isRefreshable } from '../../token-lifecycle/refresh-decision.ts'
import { holderOf } from '../lease.ts'
import { type LeaseDeps, type LeasedToken, leaseTokenOf } from '../lease-token.ts'
import { releaseLeases, shareConnection } from '../queries.ts'
import { createRejections } from '../reject-lease.ts'
import { judge } from '../serving-decision.ts'
import type { LeasesById } from '../shared-statements.ts'
import { giveBackAll, insertLease } from './queries.ts'

const SERVICE: Principal = {
  id: SERVICE_ID,
  name: 'the service itself',
  role: 'scanner',
  organizations: [EVERY_ORGANIZATION],
  restrictions: { readOnly: false },
  encryptionKey: undefined,
  requiresSealed: false,
  subject: null,
  expiresAt: null,
}

type Deps = Omit<LeaseDeps, 'leasesById'> & { db: Database }

/** How background work of the service gets a token: by a lease, as any scanner does. */
export type Borrower = {
  /** @throws {Problem} those of leaseTokenOf */
  borrow(connectionId: string, options: { minTtl?: number; purpose: string }): Promise<LeasedToken>
  /** GitLab refused the token. @throws {Problem} token_works, gitlab_unavailable, those of a refresh */
  reject(leaseId: string): Promise<void>
  /** A lease that cannot be given back now ends by itself. */
  giveBack(leaseId: string): Promise<void>
}

/**
 * Background work takes a token as it is, past half of its life as well: nobody's token is refreshed for it before that is
 * due. The statement of leases/queries.ts asks for an access key, which the service has none of. This one locks the row
 * instead.
 */
const createServiceLeases = ({ db, clock }: Pick<Deps, 'db' | 'clock'>): LeasesById => ({
  lease: (request) =>
    db.transaction().execute(async (transaction) => {
      const row = await shareConnection(transaction, request.connectionId)
      if (!row) return undefined
      const now = new Date(clock())
      const { token_version, token_expires_at, access_token } = row
      const question = { connectionId: row.id, tokenVersion: token_version, except: undefined }
      const [end = null] = await findLeaseEnds(transaction, [question], now)
      const state = { ...row, refreshable: isRefreshable(row), leased: end !== null }
      const found = {
        lease_id: request.leaseId,
        connection_id: row.id,
        organization: row.organization,
        base_url: row.base_url,
        token_kind: row.token_kind,
        token_version,
        scopes: row.scopes,
        token_expires_at,
      }
      // GitLab refuses what a database that went back has: such a lease is rejected.
      const refused = { ...state, database_went_back: false }
      if (!judge(refused, { ...request, acceptPastHalfLife: true }, now).served)
        return { ...found, access_token: null, refused }
      const wanted = addSeconds(now, request.leaseSeconds)
      await insertLease(transaction, {
        id: request.leaseId,
        connection_id: row.id,
        organization: row.organization,
        token_version,
        access_key_id: request.accessKeyId,
        subject: null,
        purpose: request.purpose,
        granted_at: now,
        expires_at: token_expires_at !== null && token_expires_at < wanted ? token_expires_at : wanted,
      })
      return { ...found, access_token, refused: null }
    }),
  isLocked: async () => false,
})

export const createBorrower = (deps: Deps): Borrower => {
  const { db, clock } = deps
  const leasing = { ...deps, leasesById: createServiceLeases(deps) }
  // What the service asks is about no repository.
  const rejections = createRejections({ ...leasing, learnRefusal: async () => undefined })
  return {
    async borrow(connectionId, { minTtl, purpose }) {
      const options = { minTtl, purpose, onConflict: 'respect' } as const
      try {
        return await leaseTokenOf(leasing, connectionId, SERVICE, options)
      } catch (error) {
        // A secret that does not open is found after the lease is written.
        if (!(error instanceof Problem)) await giveBackAll(db, connectionId, new Date(clock()))
        throw error
      }
    },
    async reject(leaseId) {
      await rejections.report(leaseId, SERVICE)
    },
    async giveBack(leaseId) {
      const lease = { ids: [leaseId], holder: holderOf(SERVICE), organizations: undefined }
      await releaseLeases(db, { ...lease, now: new Date(clock()) }).catch(() => undefined)
    },
  }
}
