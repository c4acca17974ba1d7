import type { GitLabAccess } from '../../instances/gitlab-access.ts'
import { findInstance } from '../../instances/queries.ts'
import type { Lanes } from '../../lanes.ts'
import { followClaimed } from '../../places/follow-renames.ts'
import { claimLook } from '../../places/queries.ts'
import type { Forecast } from '../../weather/forecast.ts'
import { REFUSAL_BUDGET, RESERVE } from '../../weather/refusal-budget.ts'
import { withinBudget } from '../../weather/within-budget.ts'
import { findConnection } from '../queries.ts'
import { findConnectionsToLookAt } from './queries.ts'

/** Bounds what one run asks of GitLab; the rest waits for the next run, a minute later. */
const MOST_PER_RUN = 100

type Deps = GitLabAccess & { forecast: Pick<Forecast, 'budget'> }

/** Asks GitLab once a day how the groups and projects of a connection are called, so that their new URLs find it. */
export const lookAtNamesDue = async (deps: Deps, lanes: Lanes): Promise<void> => {
  const now = new Date(deps.clock())
  const due = await findConnectionsToLookAt(deps.db, now, MOST_PER_RUN)
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
  // First of all: what cannot be asked about now comes after what can.
  if (!(await claimLook(db, id, { now, since: undefined }))) return
  const row = await findConnection(db, id)
  const instance = row && (await findInstance(db, row.instance_id))
  // A look is worth no refusal that a verification may need.
  if (!instance || budget.spent(instance.id) >= REFUSAL_BUDGET - RESERVE) return
  const tokenVersion = row.token_version
  const token = await vault.open(row.access_token, {
    ownerId: row.id,
    version: tokenVersion,
    use: 'access',
  })
  const client = withinBudget(instanceClients.for(instance), instance.id, budget)
  await followClaimed(db, client, { row, token, tokenVersion, scopes: row.scopes, now })
}
