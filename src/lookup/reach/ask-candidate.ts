import type { Principal } from '../../callers/principal.ts'
import { startPatience } from '../../clock/patience.ts'
import { askAboutProject, isServedToAll, type ProjectWord } from '../../gitlab/project-reach.ts'
import type { GitLabAccess } from '../../instances/gitlab-access.ts'
import { findInstance } from '../../instances/queries.ts'
import { holderOf } from '../../leases/lease.ts'
import { type LeaseDeps, leaseTokenOf } from '../../leases/lease-token.ts'
import { releaseLeases } from '../../leases/queries.ts'
import type { RefusalBudget } from '../../weather/refusal-budget.ts'
import { withinBudget } from '../../weather/within-budget.ts'
import type { RankedCandidate } from '../url-match.ts'
import type { KnownBudgets } from './rate-budgets.ts'

export type QuestionDeps = LeaseDeps &
  GitLabAccess & { budget: RefusalBudget; budgets: KnownBudgets; patienceMs: number }

/** `not_lent`: there is no token now with which to ask. */
export type Answer = ProjectWord | 'not_lent'
/** @property tokenVersion of the token with which GitLab was asked */
export type Told = { word: Answer; tokenVersion?: number }

/**
 * So many refusals of three minutes are left to questions about rivals. GitLab bans an address for 30 failed sign-ins by
 * default (Rack Attack), and everybody else needs the budget more.
 */
const ROOM = 20

/** The questions to GitLab about one candidate, within the budget of refusals. */
export const createQuestions = (deps: QuestionDeps) => {
  const { db, clock, budget, budgets, instanceClients, patienceMs } = deps

  const clientFor = async (instanceId: string) => {
    const instance = await findInstance(db, instanceId)
    return instance && withinBudget(instanceClients.for(instance), instanceId, budget, ROOM)
  }

  /** Borrows the token through a lease, as any scanner does. */
  const askOne = async (principal: Principal, row: RankedCandidate): Promise<Told> => {
    const options = {
      minTtl: undefined,
      onConflict: 'respect',
      purpose: 'reach',
      delivery: 'sealed',
    } as const
    const client = await clientFor(row.instance_id)
    if (!client) return { word: 'nothing' }
    const leased = await leaseTokenOf(deps, row.id, principal, options, startPatience(patienceMs)).catch(
      () => undefined,
    )
    // Whoever cannot be asked now keeps nobody else from it.
    if (!leased) return { word: 'not_lent' }
    try {
      budgets.note({ id: row.id, instanceId: row.instance_id }, leased.token)
      const { scopes, token_version: tokenVersion } = leased.row
      const word = await askAboutProject(client, { token: leased.token, scopes, path: row.project })
      // A dead token is to be known as one: else each project shows it anew.
      if (word === 'denied') void deps.verifier.verify(row.id).catch(() => undefined)
      return { word, tokenVersion }
    } finally {
      const lease = { ids: [leased.row.lease_id], holder: holderOf(principal), organizations: undefined }
      await releaseLeases(db, { ...lease, now: new Date(clock()) }).catch(() => undefined)
    }
  }

  const isForAll = async ({ instance_id, project }: RankedCandidate): Promise<boolean | undefined> => {
    const client = await clientFor(instance_id)
    return client && isServedToAll(client, project)
  }

  return { askOne, isForAll }
}
