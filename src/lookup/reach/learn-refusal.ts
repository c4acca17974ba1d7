import type { Principal } from '../../callers/principal.ts'
import type { RefusedAt } from '../../leases/reject-lease.ts'
import { type RankDeps, rankByUrl } from '../find-by-url.ts'

/**
 * Somebody says that GitLab refuses a token that works, for the repository of a URL. GitLab is asked: what a caller says
 * proves nothing.
 */
export const learnRefusal = async (
  deps: RankDeps,
  principal: Principal,
  { connection: { id, organization }, url }: RefusedAt,
): Promise<void> => {
  try {
    const { ranked } = await rankByUrl(deps, principal, { url, organization }, { minTtl: undefined })
    await deps.reach.ask(principal, ranked, id)
  } catch {
    // A URL of another instance, or the database is away: the report itself counts all the same.
  }
}
