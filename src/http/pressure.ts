import underPressure from '@fastify/under-pressure'
import { Problem } from '../errors/problem.ts'
import type { App } from './server.ts'

const RETRY_SECONDS = 3
/** The mean is over turns of the loop: in a sample this long a single stall is no overload. */
const SAMPLE_MS = 3_000
/** A start loads and compiles: what runs late then is no overload. */
const GRACE_MS = 10_000
/** An orchestrator that hears 503 of a busy process would restart it, or take its load to the others. */
export const ALWAYS_ANSWERED = new Set(['/healthz', '/readyz'])

/**
 * Turns requests away while the event loop runs late: an answer in time to some is worth more than a late one to all.
 * @param lateMs 0 = never
 */
export const shedLoad = async (app: App, lateMs: number, graceMs = GRACE_MS): Promise<void> => {
  if (lateMs === 0) return
  let graceUntil = Number.POSITIVE_INFINITY
  app.addHook('onListen', (done) => {
    graceUntil = performance.now() + graceMs
    done()
  })
  await app.register(underPressure, {
    maxEventLoopDelay: lateMs,
    sampleInterval: SAMPLE_MS,
    pressureHandler: (request, _reply, _type, value) => {
      // Without a single turn in a sample there is no mean: the whole process was stopped.
      const isMeasured = Number.isFinite(value) && performance.now() > graceUntil
      if (!isMeasured || ALWAYS_ANSWERED.has(request.routeOptions.url ?? '')) return undefined
      return Promise.reject(
        new Problem('overloaded', 'More is asked than this process can answer in time.', {
          retryAfterSeconds: RETRY_SECONDS,
        }),
      )
    },
  })
}
