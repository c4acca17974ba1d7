import { v7 as uuidv7 } from 'uuid'
import { addSeconds, type Clock } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import type { ConnectionSyncRow } from '../../db/tables.ts'
import { isFineGrained } from '../../gitlab/granular.ts'
import { hasScope } from '../../gitlab/scopes.ts'
import { findPlaces } from '../../places/queries.ts'
import { type ConnectionWithInstance, findConnection } from '../../token-lifecycle/queries.ts'
import { changeSync, claimSync, RELEASED, type SyncChanges, type SyncClaim } from './queries.ts'
import { nameOf, reachingOf, stepNamed, stepsOf } from './steps.ts'
import { CLAIM_SECONDS, decideKind, retryAt } from './timing.ts'

/** A run that this process has claimed, with the row as it stands. */
export type Begun = {
  claim: SyncClaim
  connection: ConnectionWithInstance
  row: ConnectionSyncRow
  /** It was not interrupted before. */
  isNew: boolean
}

/** What a fine-grained token may list, GitLab says when it is asked. */
const mayList = (scopes: readonly string[]): boolean => isFineGrained(scopes) || hasScope(scopes, 'read_api')

export const notPermitted = (tokenVersion: number, detail: string, now: Date): SyncChanges => ({
  ...RELEASED,
  state: 'not_permitted',
  step: null,
  position: 0,
  token_version: tokenVersion,
  error_code: 'missing_scopes',
  error_detail: detail,
  // Counts once the token is another one.
  due_at: retryAt(now, 1),
})

/**
 * Claims the reading of a connection, in all processes. Goes on where an interrupted run ended, or begins one.
 * @returns undefined = another process reads it, its token may not list, or the connection is gone.
 */
export const beginSync = async (
  { db, clock }: { db: Database; clock: Clock },
  connectionId: string,
): Promise<Begun | undefined> => {
  const now = new Date(clock())
  const claim = { connectionId, attemptId: uuidv7() }
  const deadline = addSeconds(now, CLAIM_SECONDS)
  const row = await claimSync(db, connectionId, { attemptId: claim.attemptId, deadline, now })
  const connection = row && (await findConnection(db, connectionId))
  if (!row || !connection) return undefined
  if (!mayList(connection.scopes)) {
    const detail = 'The token needs read_api or api to list projects. Connect one that has it.'
    await changeSync(db, claim, notPermitted(connection.token_version, detail, now))
    return undefined
  }
  const places = (await findPlaces(db, [connectionId])).get(connectionId) ?? []
  const reaching = reachingOf(connection, places)
  const isResumed = !row.wants_full && stepNamed(stepsOf(reaching, row.kind), row.step) !== undefined
  const changes = isResumed ? {} : newRun(row, now)
  const [first] = stepsOf(reaching, changes.kind ?? row.kind)
  const begun: Partial<ConnectionSyncRow> = {
    ...changes,
    ...(isResumed || !first ? {} : { step: nameOf(first) }),
    state: 'running',
    token_version: null,
  }
  if (!(await changeSync(db, claim, begun))) return undefined
  return { claim, connection, row: { ...row, ...begun }, isNew: !isResumed }
}

const newRun = (row: ConnectionSyncRow, now: Date): Partial<ConnectionSyncRow> => {
  const { kind, since } = decideKind(row, now)
  return {
    kind,
    since,
    wants_full: kind === 'full' ? false : row.wants_full,
    run: kind === 'full' ? row.run + 1 : row.run,
    position: '0',
    is_exact: true,
    pages: 0,
    projects: 0,
    groups: 0,
    started_at: now,
    finished_at: null,
  }
}
