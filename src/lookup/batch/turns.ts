import { bulkhead, type IPolicy } from 'cockatiel'
import type { FindByUrlDeps } from '../find-by-url.ts'

/**
 * Lookups of all batches that wait for a statement at once. A single lookup shares the next statement with these, and
 * waits for no more, however many are asked for.
 */
const STATEMENTS_AT_ONCE = 100
/** Refreshes, and questions to GitLab. */
const GITLAB_AT_ONCE = 16

const NO_LIMIT = Number.POSITIVE_INFINITY

/** Nobody reads it: the deadline has answered before. One for all, since the stack of each would take its time. */
const OVER = new Error('The batch is over')

/** @param signal of a batch: what has not begun when it aborts does not begin. */
export type Turns<Deps> = (signal: AbortSignal) => Deps

/** What all batches of this process do at once, in the order in which they came. */
export const createTurns = <Deps extends FindByUrlDeps>(deps: Deps): Turns<Deps> => {
  const statements = bulkhead(STATEMENTS_AT_ONCE, NO_LIMIT)
  const gitlab = bulkhead(GITLAB_AT_ONCE, NO_LIMIT)
  const { runPrepared, leasesById, leaseByMatch, findBest, refresher, verifier } = deps
  return (signal) => {
    const unlessOver =
      <Result>(run: () => Promise<Result>) =>
      (): Promise<Result> =>
        signal.aborted ? Promise.reject(OVER) : run()
    const inTurn =
      <Value, Result>(turns: IPolicy, run: (value: Value) => Promise<Result>) =>
      (value: Value): Promise<Result> =>
        turns.execute(unlessOver(() => run(value)))
    return {
      ...deps,
      runPrepared: (statement, values) =>
        statements.execute(unlessOver(() => runPrepared(statement, values))),
      leasesById: {
        lease: inTurn(statements, leasesById.lease),
        isLocked: inTurn(statements, leasesById.isLocked),
      },
      leaseByMatch: inTurn(statements, leaseByMatch),
      findBest: inTurn(statements, findBest),
      refresher: {
        // The caller's patience begins with its turn.
        refresh: (connectionId, request) =>
          gitlab.execute(unlessOver(() => refresher.refresh(connectionId, request))),
      },
      verifier: { verify: inTurn(gitlab, (connectionId: string) => verifier.verify(connectionId)) },
    }
  }
}
