import { bulkhead, type IPolicy } from 'cockatiel'
import type { LeaseDeps } from '../../leases/lease-token.ts'

/**
 * Refreshes and questions to GitLab that all batches of this process have under way at once. What can be served as it
 * is does not pass here: it shares statements, however many ask.
 */
const AT_ONCE = 16

/** The same as `deps`, but what waits for GitLab waits in turn. */
export const withBoundedGitLab = <Deps extends LeaseDeps>(deps: Deps, atOnce = AT_ONCE): Deps => {
  const { refresher, verifier } = deps
  const turns: IPolicy = bulkhead(atOnce, Number.POSITIVE_INFINITY)
  return {
    ...deps,
    refresher: {
      // The caller's patience begins with its turn; the deadline of the batch ends what takes too long.
      refresh: (connectionId, request) => turns.execute(() => refresher.refresh(connectionId, request)),
    },
    verifier: { verify: (connectionId) => turns.execute(() => verifier.verify(connectionId)) },
  }
}
