import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Origin } from '../callers/principal.ts'
import { confirmGrant, declineGrant, readQuestion } from './confirm.ts'
import type { DeviceTimers } from './device/device-timers.ts'
import { readDevice } from './device/read-device.ts'
import { startDevice } from './device/start-device.ts'
import type { FlowDeps } from './flow-deps.ts'
import { startFlow } from './start-flow.ts'

/** What pages of ours do with the OAuth flow; the callback is a route of this room. */
export const createOAuthFlow = (deps: FlowDeps, timers: DeviceTimers) => ({
  start: (slug: string, connectSessionId: string, request: FastifyRequest, reply: FastifyReply) =>
    startFlow(deps, slug, connectSessionId, request, reply),
  async startDevice(slug: string, connectSessionId: string) {
    const started = await startDevice(deps, slug, connectSessionId)
    timers.watch(started.authorizationId)
    return started
  },
  readDevice: (authorizationId: string, origin: Origin) => readDevice(deps, authorizationId, origin),
  readQuestion: (authorizationId: string) => readQuestion(deps, authorizationId),
  confirm: (authorizationId: string, origin: Origin) => confirmGrant(deps, authorizationId, origin),
  decline: (authorizationId: string) => declineGrant(deps, authorizationId),
})
