import type { Logger } from 'pino'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { InstanceClients } from '../instances/instance-clients.ts'
import { createIncidents, type Incidents } from './incidents.ts'
import { deleteIncidentsBefore, deleteRefusalsBefore, listBans, saveBan } from './queries.ts'
import { createRefusalBudget, type RefusalBudget, WINDOW_SECONDS } from './refusal-budget.ts'

/** What may be sent to the instances now, for all replicas together. */
export type Forecast = {
  budget: RefusalBudget
  incidents: Incidents
  /** For the clients of the instances. */
  onRefusal(instanceId: string): void
  onBan(instanceId: string, until: Date): void
  /** Reads what the other replicas know. */
  follow(instanceClients: Pick<InstanceClients, 'weatherOf'>): Promise<void>
  idle(): Promise<void>
}

const INCIDENT_RETENTION_SECONDS = 30 * 86_400

export const createForecast = (deps: { db: Database; clock: Clock; logger: Logger }): Forecast => {
  const { db, clock, logger } = deps
  const budget = createRefusalBudget(deps)
  const incidents = createIncidents({ ...deps, budget })
  return {
    budget,
    incidents,
    onRefusal: (instanceId) => budget.note(instanceId),
    onBan(instanceId, until) {
      logger.error({ instance_id: instanceId, until }, 'GitLab has banned the address of this service')
      saveBan(db, instanceId, until).catch((error: unknown) =>
        logger.warn({ err: error, instance_id: instanceId }, 'a ban could not be written'),
      )
    },
    async follow(instanceClients) {
      for (const { instance_id, banned_until } of await listBans(db, new Date(clock())))
        instanceClients.weatherOf(instance_id).bannedUntil(banned_until)
      await budget.follow()
      await incidents.follow()
    },
    idle: () => budget.idle(),
  }
}

/** @returns how many rows went. */
export const deleteOld = async (db: Database, now: Date): Promise<number> =>
  (await deleteRefusalsBefore(db, addSeconds(now, -2 * WINDOW_SECONDS))) +
  (await deleteIncidentsBefore(db, addSeconds(now, -INCIDENT_RETENTION_SECONDS)))
