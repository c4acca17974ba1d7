import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Origin } from '../callers/principal.ts'
import { confirmGrant, declineGrant, readQuestion } from './confirm.ts'
import type { FlowDeps } from './flow-deps.ts'
import { startFlow } from './start-flow.ts'

/** What pages of ours do with the OAuth flow; the callback is a route of this room. */
export const createOAuthFlow = (deps: FlowDeps) => ({
  start: (slug: string, connectSessionId: string, request: FastifyRequest, reply: FastifyReply) =>
    startFlow(deps, slug, connectSessionId, request, reply),
  readQuestion: (authorizationId: string) => readQuestion(deps, authorizationId),
  confirm: (authorizationId: string, origin: Origin) => confirmGrant(deps, authorizationId, origin),
  decline: (authorizationId: string) => declineGrant(deps, authorizationId),
})
