import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { Principal } from '../callers/principal.ts'
import { answerError } from '../http/errors.ts'
import { type App, CALLER } from '../http/server.ts'
import type { Refusals, RefusedRequest } from './refusals.ts'

/** Who sends a request, as far as it is known yet, and what it asks for. */
export const refusedRequest = (request: FastifyRequest): RefusedRequest => ({
  accessKeyId: request.getDecorator<Principal | null>(CALLER)?.id,
  requestId: request.id,
  address: request.ip,
  operation: `${request.method} ${request.routeOptions.url ?? ''}`.trimEnd(),
})

/** The error handler of the routes below: notes what was refused, and answers. A request that succeeds never comes here. */
export const noteRefusals = (app: App, refusals: Refusals): void => {
  app.setErrorHandler((error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
    refusals.noteError(error, refusedRequest(request))
    answerError(error, request, reply)
  })
}
