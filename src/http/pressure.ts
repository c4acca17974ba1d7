import underPressure from '@fastify/under-pressure'
import { Problem } from '../errors/problem.ts'
import type { App } from './server.ts'

const RETRY_SECONDS = 3
/** Long enough that one stall, as of a start on a busy machine, is no overload: the mean is over turns of the loop. */
const SAMPLE_MS = 3_000
/** An orchestrator that hears 503 of a busy process would restart it, or take its load to the others. */
const ALWAYS_ANSWERED = new Set(['/healthz', '/readyz'])

/** Turns requests away while the event loop runs late: an answer in time to some is worth more than a late one to all. */
export const shedLoad = async (app: App, lateMs: number): Promise<void> => {
  if (lateMs === 0) return
  await app.register(underPressure, {
    maxEventLoopDelay: lateMs,
    sampleInterval: SAMPLE_MS,
    pressureHandler: (request) =>
      ALWAYS_ANSWERED.has(request.routeOptions.url ?? '')
        ? undefined
        : Promise.reject(
            new Problem('overloaded', 'More is asked than this process can answer in time.', {
              retryAfterSeconds: RETRY_SECONDS,
            }),
          ),
  })
}
