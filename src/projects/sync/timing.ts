import { addSeconds } from '../../clock/clock.ts'
import type { SyncKind } from '../../db/project-tables.ts'
import type { ConnectionSyncRow } from '../../db/tables.ts'

/** When what is read, and from when on. Pure: the time is passed in. */

const INCREMENTAL_SECONDS = 3_600
const FULL_SECONDS = 86_400
/** GitLab writes last_activity_at once an hour at the most. */
const OVERLAP_SECONDS = 2 * 3_600
const FIRST_RETRY_SECONDS = 60
const LONGEST_RETRY_SECONDS = 6 * 3_600
const MOST_DOUBLINGS = 10

/** The claim of a process that reads; each page prolongs it. Longer than a page and the pause after it may take. */
export const CLAIM_SECONDS = 60

export type Begun = { kind: SyncKind; since: Date | null }

type Known = Pick<ConnectionSyncRow, 'wants_full' | 'full_synced_to' | 'synced_to'>

/** What kind of run begins now. */
export const decideKind = ({ wants_full, full_synced_to, synced_to }: Known, now: Date): Begun => {
  const isDue = full_synced_to === null || addSeconds(full_synced_to, FULL_SECONDS) <= now
  if (wants_full || isDue || synced_to === null) return { kind: 'full', since: null }
  return { kind: 'incremental', since: addSeconds(synced_to, -OVERLAP_SECONDS) }
}

/** A connection for which a token was leased within this time is read more often. A scheduler may come once a day. */
export const IN_USE_SECONDS = 2 * 86_400

/** @param isInUse each run may cost a refresh, which nobody else asks for where no scanner does */
export const nextRunAt = (now: Date, isInUse: boolean): Date =>
  addSeconds(now, isInUse ? INCREMENTAL_SECONDS : FULL_SECONDS)

/** When to go on after a failure. @param failures in a row, with this one; @param askedFor by GitLab, in seconds */
export const retryAt = (now: Date, failures: number, askedFor = 0): Date => {
  const doubled = FIRST_RETRY_SECONDS * 2 ** Math.min(failures - 1, MOST_DOUBLINGS)
  return addSeconds(now, Math.max(askedFor, Math.min(doubled, LONGEST_RETRY_SECONDS)))
}
