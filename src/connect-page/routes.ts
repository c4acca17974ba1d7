import { join } from 'node:path'
import fastifyView from '@fastify/view'
import { Eta } from 'eta'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { refusedRequest } from '../audit/note-refusals.ts'
import { createReceipts } from '../connect-sessions/receipt.ts'
import { statusOf } from '../errors/catalogue.ts'
import { Problem } from '../errors/problem.ts'
import { toProblem } from '../http/errors.ts'
import type { App } from '../http/server.ts'
import { adviceForProblem } from './advice.ts'
import { registerAssets } from './assets.ts'
import { registerConnectRoutes } from './connect-routes.ts'
import { registerConnectionRoutes } from './connection-routes.ts'
import type { ConnectPageDeps, PageContext } from './context.ts'
import { registerHomeRoutes } from './home-routes.ts'
import { createPages } from './pages.ts'
import { isFromOurPage } from './same-origin.ts'
import { registerSignInRoutes } from './sign-in-routes.ts'
import { texts } from './texts.en.ts'
import { createVisitors } from './visitor.ts'

/**
 * Nothing but our own files; forms go to ourselves. People leave for GitLab by links: a browser holds the redirects
 * after a form to form-action, and which other servers GitLab signs people in with is not known here.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  // Pico draws its arrows as data: URLs.
  "img-src 'self' data:",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')

const isSubmission = ({ method }: FastifyRequest): boolean => method !== 'GET' && method !== 'HEAD'

/** The GitLab Integration page: at / and /connect, with all that it needs below /connect and /assets. */
export const registerConnectPage = async (app: App, deps: ConnectPageDeps): Promise<void> => {
  const prefix = new URL(deps.publicUrl).pathname.replace(/\/$/, '')
  const at = (path: string): string => prefix + path
  const assets = await registerAssets(app, prefix)
  const pages = createPages({ db: deps.db, clock: deps.clock, texts, assets, prefix })
  const context: PageContext = {
    ...deps,
    texts,
    pages,
    visitors: createVisitors(deps),
    receipts: createReceipts(deps),
    at,
  }
  await app.register(fastifyView, {
    engine: { eta: new Eta({ autoEscape: true }) },
    root: join(import.meta.dirname, 'views'),
    production: true,
  })

  app.addHook('onRequest', async (request, reply) => {
    reply.header('content-security-policy', CONTENT_SECURITY_POLICY)
    reply.header('cross-origin-opener-policy', 'same-origin')
    // Not no-referrer: with it browsers send "Origin: null" even to ourselves.
    reply.header('referrer-policy', 'same-origin')
    reply.header('cache-control', 'no-store')
    if (isSubmission(request) && !isFromOurPage(request, deps.publicUrl)) return refuseCrossSite(reply)
    return undefined
  })

  const refuseCrossSite = (reply: FastifyReply) =>
    pages.message(reply, { kind: 'advice', advice: texts.problem.crossSite }, 403)

  app.setErrorHandler(async (error, request, reply) => {
    deps.refusals.noteError(error, refusedRequest(request))
    const problem = toProblem(error as Parameters<typeof toProblem>[0]) ?? new Problem('internal_error')
    if (problem.code === 'internal_error')
      request.log.error({ err: error, request_id: request.id }, 'unexpected error')
    const { retryAfterSeconds } = problem.extras
    if (retryAfterSeconds !== undefined)
      reply.header('retry-after', Math.max(1, Math.ceil(retryAfterSeconds)))
    const advice = adviceForProblem(problem, {}, texts)
    return pages.message(reply, { kind: 'advice', advice }, statusOf(problem.code), request.id)
  })

  registerHomeRoutes(app, context)
  registerSignInRoutes(app, context)
  registerConnectRoutes(app, context, refuseCrossSite)
  registerConnectionRoutes(app, context)
}
