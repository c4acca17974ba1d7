import { noteRefusals } from './audit/note-refusals.ts'
import { DEFAULT_LIMITS } from './config/limits.ts'
import { Problem } from './errors/problem.ts'
import { registerApiDocs } from './http/api-docs.ts'
import { lookAtReadiness } from './http/look-at-readiness.ts'
import { shedLoad } from './http/pressure.ts'
import { createProcessState, type ProcessState } from './http/readiness.ts'
import { type App, createServer } from './http/server.ts'
import { registerServiceRoutes } from './http/service-routes.ts'
import { limitSockets } from './http/sockets.ts'
import type { Jobs } from './jobs/jobs.ts'
import { registerLimits } from './limits/limits.ts'
import type { DatabaseHistory } from './token-lifecycle/history/watch-history.ts'

import { createRoomJobs } from './wiring/jobs.ts'
import { type AppDeps, createRooms } from './wiring/rooms.ts'
import { registerRoutes } from './wiring/routes.ts'

/** The whole application, not yet listening. */
export type WiredApp = {
  app: App
  jobs: Jobs
  /** Saves what an earlier process had to leave behind: to be awaited before the first request. */
  takeUpSpool(): Promise<number>
  history: DatabaseHistory
}

const START_RETRY_SECONDS = 2

const refuseWhileStarting = ({ waitingFor }: ProcessState): Problem | undefined =>
  waitingFor === undefined
    ? undefined
    : new Problem('database_unavailable', 'The service is starting: it waits for its database.', {
        retryAfterSeconds: START_RETRY_SECONDS,
      })

const refuseProbe = (): never => {
  throw new Error('There is no database to look at')
}

/** The application: the server, and all that the rooms of `wiring` answer and do. */
export const createApp = async (deps: AppDeps): Promise<WiredApp> => {
  const { db, clock, logger, config, probed, state = createProcessState() } = deps
  const { publicUrl, allowedHosts, trustProxy, limits = DEFAULT_LIMITS } = config
  const rooms = createRooms(deps)
  const jobs = createRoomJobs(rooms, deps)
  const { history, spoolFolder, tokenSaver } = rooms
  const app = createServer({
    logger,
    trustProxy,
    publicUrl,
    allowedHosts,
    isDraining: () => state.draining,
  })
  limitSockets(app.server, { ...limits, trustProxy })
  await shedLoad(app, limits.lateMs)
  await registerLimits(app, { db, clock, settings: limits, isRemembered: rooms.isRemembered })
  await registerApiDocs(app, publicUrl)

  app.register(async (routes) => {
    routes.addHook('onRequest', (_request, _reply, done) => done(refuseWhileStarting(state)))
    noteRefusals(routes as App, rooms.refusals)
    await registerRoutes(routes as App, rooms, deps)
  })
  app.register(async (service) =>
    registerServiceRoutes(service as App, {
      readiness: () =>
        lookAtReadiness({
          database: probed ?? refuseProbe(),
          state,
          spoolFolder,
          history: history.state(),
        }),
    }),
  )
  app.addHook('onClose', async () => {
    await jobs.stop()
    await rooms.close()
  })
  return { app, jobs, takeUpSpool: tokenSaver.takeUpSpool, history }
}
