import type { Logger } from 'pino'
import { v7 as uuidv7 } from 'uuid'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import { type IncidentRow, listOpenIncidents, openIncident, updateIncident } from './queries.ts'
import type { RefusalBudget } from './refusal-budget.ts'

/** Many connections that GitLab refuses within a minute are one incident, and one of them is tried before the others. */

/** So many different connections of one OAuth app, or so many pasted tokens of an instance. */
export const INCIDENT_CONNECTIONS = 10
const WITHIN_SECONDS = 60
/** So long after the canary was heard of, it is gone, and another connection takes its place. */
const GONE_SECONDS = 150
/** A refused token is one connection's own, so each has its turn while the budget of refusals has room for that. */
const TURN_SECONDS = 5
/** An incident of which nothing was heard for so long is over. */
const OVER_SECONDS = 900
/** What the other replicas know is read no more often than this where connections are held. */
const FOLLOW_AGAIN_MS = 5_000
const SHORTEST_HOLD_SECONDS = { oauth_app_rejected: 60, refresh_token_refused: 15 }

export type IncidentCause = 'oauth_app_rejected' | 'refresh_token_refused' | 'token_refused'

/** A connection's part in an incident: `told` = the canary was refused to the end. */
export type Part = 'canary' | 'held' | 'told'

type App = { id: string; version: number }
type Refused = { instanceId: string; app: App | undefined; connectionId: string; cause: IncidentCause }
type Candidate = Pick<
  ConnectionRow,
  'id' | 'instance_id' | 'oauth_app_id' | 'refused_since' | 'failure_count'
>
export type Hold = { until: Date; cause: 'oauth_app_rejected' | 'refresh_token_refused' }

export type Incidents = {
  /** @returns the part of the connection in an open incident. */
  noteRefused(refused: Refused): Promise<Part | undefined>
  /** GitLab issued a token: what an OAuth app was refused for is over. */
  noteIssued(app: App, connectionId: string): void
  /** The canary has ended: the others may follow. */
  noteTold(app: App): Promise<void>
  /** Why a connection is not to be tried now, as far as this process knows. @param appVersion undefined = whatever it is. */
  hold(row: Candidate, appVersion?: number): Hold | undefined
  /** The same; before it says no, it asks what the other replicas know. */
  confirmHold(row: Candidate, appVersion?: number): Promise<Hold | undefined>
  /** Whether its OAuth app is in an open incident. */
  isPartOfAny(row: Candidate): boolean
  /** Reads what the other replicas know, and ends what is over. */
  follow(): Promise<void>
}

const keyOf = (appId: string | null, instanceId: string, cause: string) => `${appId ?? instanceId} ${cause}`
const HOLDING = ['oauth_app_rejected', 'refresh_token_refused'] as const

type Deps = { db: Database; clock: Clock; logger: Logger; budget: RefusalBudget }

const partIn = ({ canary_id, told_at }: IncidentRow, connectionId: string): Part => {
  if (canary_id === connectionId) return 'canary'
  return told_at === null ? 'held' : 'told'
}

/** The open incidents, in memory and in the database. */
const createRegister = ({ db, clock, logger }: Omit<Deps, 'budget'>) => {
  const recent = new Map<string, Map<string, number>>()
  const open = new Map<string, IncidentRow>()
  /** Those that are being written. */
  const opening = new Map<string, Promise<void>>()

  const change = (incident: IncidentRow, changes: Parameters<typeof updateIncident>[2]) => {
    Object.assign(incident, { ...changes, more: undefined })
    return updateIncident(db, incident.id, changes).catch((error: unknown) =>
      logger.warn({ err: error, incident_id: incident.id }, 'an incident could not be written'),
    )
  }
  const close = (key: string, incident: IncidentRow) => {
    open.delete(key)
    recent.delete(key)
    logger.info({ incident_id: incident.id, cause: incident.cause }, 'an incident is over')
    return change(incident, { closed_at: new Date(clock()) })
  }

  /** @returns how many connections were refused within a minute, this one among them, the longest ago first. */
  const recentOf = (key: string, connectionId: string, now: number): string[] => {
    const refused = recent.get(key) ?? new Map<string, number>()
    recent.set(key, refused)
    refused.delete(connectionId)
    refused.set(connectionId, now)
    for (const [id, at] of refused) if (now - at > WITHIN_SECONDS * 1000) refused.delete(id)
    return [...refused.keys()]
  }

  /** The incident holds from now on, and is written meanwhile: many more are refused by the time that it is. */
  const start = (key: string, { instanceId, app, cause }: Refused, ids: string[]): IncidentRow => {
    const now = new Date(clock())
    const incident: IncidentRow = {
      id: uuidv7(),
      instance_id: instanceId,
      oauth_app_id: app?.id ?? null,
      oauth_app_version: app?.version ?? null,
      cause,
      connections: ids.length,
      canary_id: ids[0]!,
      canary_at: now,
      opened_at: now,
      last_refused_at: now,
      told_at: null,
      closed_at: null,
    }
    open.set(key, incident)
    const where = { incident_id: incident.id, instance_id: instanceId, oauth_app_id: app?.id, cause }
    logger.warn(where, 'GitLab refuses many connections at once')
    const written = openIncident(db, incident)
      // Another replica may have opened it before: its canary counts.
      .then((row) => void Object.assign(incident, row))
      .catch((error: unknown) => logger.warn({ err: error, cause }, 'an incident could not be written'))
      .finally(() => opening.delete(key))
    opening.set(key, written)
    return incident
  }

  return {
    open,
    opening,
    recent,
    change,
    close,
    recentOf,
    start,
    async follow() {
      const rows = await listOpenIncidents(db)
      const known = new Set<string>()
      const over = addSeconds(new Date(clock()), -OVER_SECONDS)
      for (const row of rows) {
        const key = keyOf(row.oauth_app_id, row.instance_id, row.cause)
        known.add(key)
        if (row.last_refused_at < over) await close(key, row)
        else open.set(key, row)
      }
      for (const key of open.keys()) if (!known.has(key) && !opening.has(key)) open.delete(key)
    },
  }
}

export const createIncidents = (deps: Deps): Incidents => {
  const { clock, budget } = deps
  const { open, opening, recent, change, close, recentOf, start, follow } = createRegister(deps)
  let followedAt = Number.NEGATIVE_INFINITY

  const hold = (row: Candidate, appVersion?: number): Hold | undefined => {
    const now = new Date(clock())
    // Spread, so that those who wait do not all come at once.
    const spread = 1 + Math.random()
    for (const cause of HOLDING) {
      const until = addSeconds(now, SHORTEST_HOLD_SECONDS[cause] * spread)
      const incident = open.get(keyOf(row.oauth_app_id, row.instance_id, cause))
      if (!incident || (appVersion !== undefined && incident.oauth_app_version !== appVersion)) continue
      // Nothing is known against a connection that was not refused itself: it lives on while the budget has room.
      const isUnsuspected = cause === 'refresh_token_refused' && row.refused_since === null
      if (isUnsuspected && budget.hasRoom(row.instance_id)) continue
      if (incident.told_at !== null && cause === 'refresh_token_refused')
        return budget.hasRoomForDoubtful(row.instance_id) ? undefined : { until, cause }
      if (incident.canary_id === row.id) return undefined
      const takesTurns = cause === 'refresh_token_refused' && budget.hasRoomForDoubtful(row.instance_id)
      const turnSeconds = takesTurns ? TURN_SECONDS : GONE_SECONDS
      if (now.getTime() - incident.canary_at.getTime() < turnSeconds * 1000) return { until, cause }
      void change(incident, { canary_id: row.id, canary_at: now })
      return undefined
    }
    return row.refused_since === null || budget.hasRoomForDoubtful(row.instance_id, row)
      ? undefined
      : {
          until: addSeconds(now, SHORTEST_HOLD_SECONDS.refresh_token_refused * spread),
          cause: 'refresh_token_refused',
        }
  }

  return {
    async noteRefused(refused) {
      const { instanceId, app, connectionId, cause } = refused
      const key = keyOf(app?.id ?? null, instanceId, cause)
      const now = clock()
      const isNew = recent.get(key)?.has(connectionId) !== true
      const ids = recentOf(key, connectionId, now)
      const known = open.get(key)
      if (known) {
        await opening.get(key)
        const at = new Date(now)
        const isCanary = known.canary_id === connectionId
        const canary = isCanary ? { canary_at: at } : {}
        await change(known, { last_refused_at: at, more: isNew && !isCanary ? 1 : 0, ...canary })
        return partIn(known, connectionId)
      }
      if (ids.length < INCIDENT_CONNECTIONS) return undefined
      const incident = start(key, refused, ids)
      await opening.get(key)
      return partIn(incident, connectionId)
    },
    noteIssued(app, connectionId) {
      for (const [key, incident] of open) {
        if (incident.oauth_app_id !== app.id) continue
        if (incident.cause === 'oauth_app_rejected' || incident.canary_id === connectionId)
          void close(key, incident)
      }
    },
    async noteTold(app) {
      for (const incident of open.values())
        if (incident.oauth_app_id === app.id && incident.cause === 'refresh_token_refused')
          await change(incident, { told_at: new Date(clock()) })
    },
    hold,
    async confirmHold(row, appVersion) {
      const held = hold(row, appVersion)
      if (!held || clock() - followedAt < FOLLOW_AGAIN_MS) return held
      followedAt = clock()
      await follow()
      return hold(row, appVersion)
    },
    isPartOfAny: ({ oauth_app_id, instance_id }) =>
      HOLDING.some((cause) => open.has(keyOf(oauth_app_id, instance_id, cause))),
    follow,
  }
}
