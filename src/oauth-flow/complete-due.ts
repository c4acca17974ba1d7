import { addSeconds } from '../clock/clock.ts'
import type { Lanes } from '../lanes.ts'
import { completePendingGrant } from './complete-grant.ts'
import { completeAndTell } from './device/poll-device.ts'
import type { FlowDeps } from './flow-deps.ts'
import { dropGrant } from './kept-grant.ts'
import { findGrantsToDrop, findPendingGrants } from './queries.ts'

/** Bounds what one run asks of GitLab; the rest waits for the next run, a minute later. */
const MOST_PER_RUN = 400
/** The browser's own request gets a moment to finish first. */
const GRANT_AGE_SECONDS = 30

/**
 * Makes connections of grants that wait for GitLab to say whose they are, and drops those to which nobody said yes
 * in time. A grant about which a person is being asked waits for the person.
 */
export const completeDue = async (deps: FlowDeps, lanes: Lanes): Promise<void> => {
  const now = new Date(deps.clock())
  const pending = await findPendingGrants(deps.db, addSeconds(now, -GRANT_AGE_SECONDS), MOST_PER_RUN)
  await lanes.forEach(pending, 'complete-grants', ({ id }) =>
    completeAndTell(deps, id, () => completePendingGrant(deps, id)),
  )
  const toDrop = await findGrantsToDrop(deps.db, now, MOST_PER_RUN)
  await lanes.forEach(toDrop, 'drop-grants', ({ id }) => dropGrant(deps, id))
}
