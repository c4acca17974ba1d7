import type { Logger } from 'pino'
import type { Clock } from '../clock/clock.ts'
import type { Lanes } from '../lanes.ts'

/** What the service does without being asked. Any replica may run each job at any time, more than once. */
export type Jobs = {
  mendConnections(): Promise<void>
  rotateDue(): Promise<void>
  lookAtNames(): Promise<void>
  completeGrants(): Promise<void>
  deleteOld(): Promise<void>
  syncProjects(): Promise<void>
  noteLeaseSlots(): Promise<void>
  sealAudit(): Promise<void>
  renewDataKey(): Promise<void>
  /** Starts nothing more, and waits for the calls to GitLab that are under way. */
  stop(): Promise<void>
}

const EVERY_MINUTE = '* * * * *'
const EVERY_HOUR = '17 * * * *'

/** Which job runs when. `queue` is the job's name in the database. */
export const TIMETABLE: { queue: string; cron: string; job: Exclude<keyof Jobs, 'stop'> }[] = [
  { queue: 'mend-connections', cron: EVERY_MINUTE, job: 'mendConnections' },
  { queue: 'complete-grants', cron: EVERY_MINUTE, job: 'completeGrants' },
  { queue: 'sync-projects', cron: EVERY_MINUTE, job: 'syncProjects' },
  { queue: 'look-at-names', cron: EVERY_MINUTE, job: 'lookAtNames' },
  { queue: 'rotate-due', cron: EVERY_HOUR, job: 'rotateDue' },
  { queue: 'delete-old', cron: EVERY_HOUR, job: 'deleteOld' },
  { queue: 'note-lease-slots', cron: EVERY_MINUTE, job: 'noteLeaseSlots' },
  { queue: 'seal-audit', cron: EVERY_MINUTE, job: 'sealAudit' },
  { queue: 'renew-data-key', cron: EVERY_HOUR, job: 'renewDataKey' },
]

export type JobDeps = {
  lanes: Lanes
  clock: Clock
  logger: Logger
  /** token-lifecycle/upkeep/upkeep.ts */
  mendDue(lanes: Lanes): Promise<void>
  rotateDue(lanes: Lanes): Promise<void>
  /** token-lifecycle/upkeep/look-at-names.ts */
  lookAtNamesDue(lanes: Lanes): Promise<void>
  /** oauth-flow/complete-due.ts */
  completeDue(lanes: Lanes): Promise<void>
  /** projects/sync/syncs.ts */
  syncs: { runDue(): Promise<void>; stop(): Promise<void> }
  /** leases/record/slots.ts */
  noteLeaseSlots(): Promise<void>
  /** audit/seals/seal-audit.ts */
  sealAudit(): Promise<void>
  /** vault/follow.ts */
  renewDataKey(): Promise<void>
  /** One function for each room that has old rows to delete. @returns how many rows went. */
  deleteOld: ((now: Date) => Promise<number>)[]
}

export const createJobs = (deps: JobDeps): Jobs => {
  const { lanes, clock, logger } = deps
  return {
    mendConnections: () => deps.mendDue(lanes),
    rotateDue: () => deps.rotateDue(lanes),
    lookAtNames: () => deps.lookAtNamesDue(lanes),
    completeGrants: () => deps.completeDue(lanes),
    async deleteOld() {
      const now = new Date(clock())
      let deleted = 0
      const failures: unknown[] = []
      for (const deleteOldRows of deps.deleteOld)
        try {
          deleted += await deleteOldRows(now)
        } catch (error) {
          // What one room cannot delete keeps no other from deleting.
          failures.push(error)
        }
      if (deleted > 0) logger.info({ deleted }, 'old rows deleted')
      if (failures.length > 0) throw failures[0]
    },
    syncProjects: () => deps.syncs.runDue(),
    noteLeaseSlots: () => deps.noteLeaseSlots(),
    sealAudit: () => deps.sealAudit(),
    renewDataKey: () => deps.renewDataKey(),
    async stop() {
      await Promise.all([lanes.stop(), deps.syncs.stop()])
    },
  }
}
