import { addSeconds } from '../clock/clock.ts'
import type { Lanes } from '../lanes.ts'
import type { FlowDeps } from './flow-deps.ts'
import { completePendingGrant } from './grant.ts'
import { findPendingGrants } from './queries.ts'

/** Bounds what one run asks of GitLab; the rest waits for the next run, a minute later. */
const MOST_PER_RUN = 400
/** The browser's own request gets a moment to finish first. */
const GRANT_AGE_SECONDS = 30

/** Makes connections of grants that wait for GitLab to say whose they are. */
export const completeDue = async (deps: FlowDeps, lanes: Lanes): Promise<void> => {
  const before = addSeconds(new Date(deps.clock()), -GRANT_AGE_SECONDS)
  const pending = await findPendingGrants(deps.db, before, MOST_PER_RUN)
  await lanes.forEach(pending, 'complete-grants', ({ id }) => completePendingGrant(deps, id))
}
