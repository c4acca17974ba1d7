import type { Database } from '../../db/database.ts'
import type { TransportFailure } from '../../gitlab/transport-failure.ts'
import { shareCalls } from '../../share.ts'
import { mayHaveGoneBack } from '../history/suspicion.ts'
import type { DatabaseHistory } from '../history/watch-history.ts'
import { markAttemptsSent, type Sending } from './queries.ts'

export type SendingHistory = Pick<DatabaseHistory, 'known' | 'suspect' | 'requireSettled'>

/**
 * Writes down that a token is about to be spent at GitLab.
 * @returns false when another writer has the claim by now.
 * @throws {Problem} database_unavailable when the database may have gone back: the token may have a successor.
 */
export type MarkSent = (sending: Sending) => Promise<boolean>

/** Many sendings share one statement. */
export const createMarkSent = ({ db, history }: { db: Database; history: SendingHistory }): MarkSent => {
  const mark = shareCalls(async (sendings: Sending[]) => {
    const marked = await markAttemptsSent(db, sendings, history.known())
    if (marked) return marked
    history.suspect()
    throw mayHaveGoneBack()
  })
  return async (sending) => {
    const isMarked = await mark(sending)
    history.requireSettled(sending.connectionId)
    return isMarked
  }
}

const NOT_SENT: TransportFailure = { kind: 'failure', reason: 'overloaded', mayHaveActed: false }

/**
 * Stands before a call that spends a token, which may have waited for its turn since it was marked.
 * `problem`: why the call was not sent; undefined = it was not turned away here.
 */
export const createGate = (history: Pick<DatabaseHistory, 'requireSettled'>, connectionId: string) => {
  let problem: unknown
  return {
    turnAway(): TransportFailure | undefined {
      try {
        history.requireSettled(connectionId)
        return undefined
      } catch (error) {
        problem = error
        return NOT_SENT
      }
    },
    problem: () => problem,
  }
}
