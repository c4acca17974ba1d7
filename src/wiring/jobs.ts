import { deleteOld as deleteOldAudit } from '../audit/seals/delete-old.ts'
import { sealAudit } from '../audit/seals/seal-audit.ts'
import { addSeconds } from '../clock/clock.ts'
import { deleteOld as deleteOldSessions } from '../connect-sessions/delete-old.ts'
import { createJobs, type Jobs } from '../jobs/jobs.ts'
import { createLanes } from '../lanes.ts'
import { deleteOld as deleteOldLeases } from '../leases/delete-old.ts'
import { createLeaseDigests } from '../leases/record/digest.ts'
import { noteLeaseSlots } from '../leases/record/slots.ts'
import { deleteOld as deleteOldGuesses } from '../limits/delete-old.ts'
import { createAuditLog } from '../log.ts'
import { deleteOld as deleteOldBatches } from '../lookup/batch/delete-old.ts'
import { deleteOld as deleteOldProofs } from '../lookup/reach/delete-old.ts'
import { completeDue } from '../oauth-flow/complete-due.ts'
import { deleteOld as deleteOldProjects } from '../projects/delete-old.ts'
import { sealedTables } from '../sealed-tables.ts'
import { HEARTBEAT_RETENTION_SECONDS } from '../token-lifecycle/history/node-file.ts'
import { deleteHeartbeatsBefore } from '../token-lifecycle/history/queries.ts'
import { lookAtNamesDue } from '../token-lifecycle/upkeep/look-at-names.ts'
import { mendDue, rotateDue } from '../token-lifecycle/upkeep/upkeep.ts'
import { renewDataKey } from '../vault/follow.ts'
import { deleteOld as deleteOldWeather } from '../weather/forecast.ts'

import type { AppDeps, Rooms } from './rooms.ts'

/** How many items of background work are under way at once. */
const JOB_LANES = 8

/** What each room does without being asked. */
export const createRoomJobs = (
  { lifecycle, flow, deviceTimers, namedKeys, syncs, vault, tokenSaver }: Rooms,
  { db, clock, logger, keyRing, masterKeys, config }: AppDeps,
): Jobs =>
  createJobs({
    clock,
    logger,
    lanes: createLanes({ atOnce: JOB_LANES, logger }),
    mendDue: (lanes) => mendDue(lifecycle, lanes),
    rotateDue: (lanes) => rotateDue(lifecycle, lanes),
    lookAtNamesDue: (lanes) => lookAtNamesDue(lifecycle, lanes),
    completeDue: async (lanes) => {
      await deviceTimers.pollDue(lanes)
      await completeDue(flow, lanes)
    },
    syncs,
    noteLeaseSlots: () => noteLeaseSlots(db),
    sealAudit: () =>
      sealAudit({
        db,
        namedKeys,
        leaseDigests: createLeaseDigests(db),
        auditLog: createAuditLog(logger),
      }),
    renewDataKey: () =>
      renewDataKey({
        db,
        masterKeys: masterKeys(),
        clock,
        keyRing,
        vault,
        logger,
        tables: sealedTables(db),
        maxAgeDays: config.dataKeyMaxAgeDays,
      }),
    deleteOld: [
      () => deleteOldAudit(db, config.auditRetentionDays),
      (now) => deleteOldLeases(db, config.leaseRetentionDays, now),
      (now) => deleteOldSessions(db, now),
      () => tokenSaver.deleteOldRetained(),
      (now) => deleteHeartbeatsBefore(db, addSeconds(now, -HEARTBEAT_RETENTION_SECONDS)),
      (now) => deleteOldGuesses(db, now),
      (now) => deleteOldBatches(db, now),
      (now) => deleteOldProofs(db, now),
      (now) => deleteOldProjects(db, now),
      (now) => deleteOldWeather(db, now),
    ],
  })
