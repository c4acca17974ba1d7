import type { SharingDeps } from '../../leases/shared-statements.ts'
import { shareCalls } from '../../share.ts'
import type { CandidateQuery } from '../queries.ts'
import type { KnownBudgets } from '../reach/rate-budgets.ts'
import { type Best, findBest } from './queries.ts'

/** Undefined = no connection can be served. @throws {Problem} database_unavailable while the database may have gone back */
export type FindBest = (query: CandidateQuery) => Promise<Best | undefined>

/**
 * Searches that arrive while one is under way share the next statement. While the database may have gone back they fail:
 * it may have forgotten a connection.
 */
export const createFindBest = (
  { runPrepared, clock, slowMs, history }: SharingDeps,
  budgets: KnownBudgets,
): FindBest =>
  shareCalls(
    async (queries: CandidateQuery[]) => {
      history?.requireSettled()
      return findBest(runPrepared, queries, { now: new Date(clock()), budgets: budgets.low() })
    },
    { slowMs },
  )
