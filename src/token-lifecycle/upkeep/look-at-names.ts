import { addSeconds } from '../../clock/clock.ts'
import type { GitLabAccess } from '../../instances/gitlab-access.ts'
import { findInstance } from '../../instances/queries.ts'
import type { Lanes } from '../../lanes.ts'
import { followRenames } from '../../places/follow-renames.ts'
import type { Forecast } from '../../weather/forecast.ts'
import { REFUSAL_BUDGET, RESERVE } from '../../weather/refusal-budget.ts'
import { withinBudget } from '../../weather/within-budget.ts'
import { findConnection } from '../queries.ts'
import { findConnectionsToLookAt } from './queries.ts'

/** A day: somebody who renames a group tells its scanners within that time, or verifies the connection. */
const EVERY_SECONDS = 86_400
/** Bounds what one run asks of GitLab; the rest waits for the next run, a minute later. */
const MOST_PER_RUN = 100

type Deps = GitLabAccess & { forecast: Pick<Forecast, 'budget'> }

/** Asks GitLab once a day how the groups and projects of a connection are called, so that their new URLs find it. */
export const lookAtNamesDue = async (deps: Deps, lanes: Lanes): Promise<void> => {
  const now = new Date(deps.clock())
  const before = addSeconds(now, -EVERY_SECONDS)
  const due = await findConnectionsToLookAt(deps.db, { now, before, limit: MOST_PER_RUN })
  await lanes.forEach(
    due.map((id) => ({ id })),
    'look-at-names',
    ({ id }) => lookAtNames(deps, id, now),
  )
}

const lookAtNames = async (
  { db, vault, instanceClients, forecast: { budget } }: Deps,
  id: string,
  now: Date,
): Promise<void> => {
  const row = await findConnection(db, id)
  const instance = row && (await findInstance(db, row.instance_id))
  // A look is worth no refusal that a verification may need.
  if (!instance || budget.spent(instance.id) >= REFUSAL_BUDGET - RESERVE) return
  const binding = { ownerId: row.id, version: row.token_version, use: 'access' } as const
  const token = await vault.open(row.access_token, binding)
  const client = withinBudget(instanceClients.for(instance), instance.id, budget)
  await followRenames(db, client, { row, token, scopes: row.scopes, now, notWithinSeconds: EVERY_SECONDS })
}
