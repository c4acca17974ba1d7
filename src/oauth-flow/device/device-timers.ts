import { addSeconds } from '../../clock/clock.ts'
import type { Lanes } from '../../lanes.ts'
import type { FlowDeps } from '../flow-deps.ts'
import { findAuthorizationRequest } from '../queries.ts'
import { pollDevice } from './poll-device.ts'
import { findDuePolls } from './queries.ts'

/** Asks GitLab in the background, so that nobody has to keep a page open. */
export type DeviceTimers = {
  /** Asks at the pace that GitLab named, until the grant has come out. */
  watch(id: string): void
  /** Takes up what no replica asks about any more: the one that did has ended. */
  pollDue(lanes: Lanes): Promise<void>
  close(): Promise<void>
}

const FIRST_SECONDS = 5
const MOST_PER_RUN = 400
/** A replica that is there asks in time. */
const ORPHANED_SECONDS = 15

export const createDeviceTimers = (deps: FlowDeps): DeviceTimers => {
  const timers = new Map<string, NodeJS.Timeout>()
  const underWay = new Set<Promise<void>>()
  let closed = false

  const ask = async (id: string): Promise<void> => {
    try {
      await pollDevice(deps, id, { requestId: id })
      const request = await findAuthorizationRequest(deps.db, id)
      if (request?.device_jwe) schedule(id, request.poll_seconds ?? FIRST_SECONDS)
    } catch (error) {
      const reason = error instanceof Error ? error.name : undefined
      deps.logger.warn({ authorization_request: id, reason }, 'a device grant could not be asked about')
      schedule(id, FIRST_SECONDS)
    }
  }
  const schedule = (id: string, seconds: number): void => {
    if (closed || timers.has(id)) return
    const timer = setTimeout(() => {
      timers.delete(id)
      const asking = ask(id).finally(() => underWay.delete(asking))
      underWay.add(asking)
    }, seconds * 1000)
    timers.set(id, timer.unref())
  }

  return {
    watch: (id) => schedule(id, FIRST_SECONDS),
    async pollDue(lanes) {
      const before = addSeconds(new Date(deps.clock()), -ORPHANED_SECONDS)
      const due = await findDuePolls(deps.db, before, MOST_PER_RUN)
      await lanes.forEach(due, 'poll-devices', async ({ id }) => {
        await pollDevice(deps, id, { requestId: id })
        schedule(id, FIRST_SECONDS)
      })
    },
    async close() {
      closed = true
      for (const timer of timers.values()) clearTimeout(timer)
      timers.clear()
      await Promise.allSettled(underWay)
    },
  }
}
