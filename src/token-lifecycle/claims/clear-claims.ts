import { v7 as uuidv7 } from 'uuid'
import type { Clock } from '../../clock/clock.ts'
import type { Database, RunPrepared } from '../../db/database.ts'
import { shareCalls } from '../../share.ts'
import type { Claim } from '../claim.ts'
import { mayHaveGoneBack } from '../history/suspicion.ts'
import type { DatabaseHistory } from '../history/watch-history.ts'
import type { RefreshRequest } from '../refresh-decision.ts'
import { type ClearClaim, claimClear, releaseClaims } from './queries.ts'
import type { SendingHistory } from './sendings.ts'

type Deps = {
  db: Database
  runPrepared: RunPrepared
  clock: Clock
  history: SendingHistory & Pick<DatabaseHistory, 'wentBackAt'>
}

/**
 * Claims a refresh that nothing speaks against, and writes down that it is about to be sent: most refreshes need no more.
 * Many share a statement.
 * @returns undefined where something may speak against it: claimIf tells.
 * @throws {Problem} database_unavailable when the database may have gone back.
 */
export const createClearClaims = ({
  db,
  runPrepared,
  clock,
  history,
}: Deps): ((connectionId: string, request: RefreshRequest) => Promise<Claim | undefined>) => {
  const claim = shareCalls(async (claims: ClearClaim[]): Promise<(Claim | undefined)[]> => {
    const now = new Date(clock())
    const asked = { now, known: history.known(), wentBackAt: history.wentBackAt() }
    const rows = await claimClear(runPrepared, claims, asked).catch((error: unknown) => {
      // The statement may have been carried out, and nothing was sent. Nobody waits for a database that is away.
      releaseClaims(db, claims).catch(() => undefined)
      throw error
    })
    if (!rows) {
      history.suspect()
      throw mayHaveGoneBack()
    }
    return rows.map((row, index) => row && { row, attemptId: claims[index]!.attemptId, sentAt: now })
  })
  return async (connectionId, { knownVersion, onConflict, ownLease }) => {
    history.requireSettled(connectionId)
    const preempts = onConflict === 'preempt'
    return claim({ connectionId, attemptId: uuidv7(), knownVersion, preempts, ownLease })
  }
}
