import { join } from 'node:path'
import fastifyView from '@fastify/view'
import { Eta } from 'eta'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { refusedRequest } from '../audit/note-refusals.ts'
import { createConfirmations } from '../connect-sessions/confirmation.ts'
import { createDeviceFlows } from '../connect-sessions/device-flows.ts'
import { createReceipts } from '../connect-sessions/receipt.ts'
import { statusOf } from '../errors/catalogue.ts'
import { Problem } from '../errors/problem.ts'
import { toProblem } from '../http/errors.ts'
import type { App } from '../http/server.ts'
import { registerProjectPages } from './accounts/project-pages.ts'
import { registerAccountRoutes } from './accounts/routes.ts'
import { adviceForProblem } from './advice.ts'
import { registerAssets } from './assets.ts'
import { registerDeviceRoutes } from './connect/device.ts'
import { registerConnectRoutes, registerQuestionRoutes } from './connect/routes.ts'
import type { ConnectPageDeps, PageContext } from './context.ts'
import { createPages } from './pages.ts'
import { contentSecurityPolicy } from './security-policy.ts'
import { texts } from './texts.en.ts'
import { registerHomeRoutes } from './visit/home-routes.ts'
import { registerVisitRoutes } from './visit/routes.ts'
import { isFromOurPage } from './visit/same-origin.ts'
import { createSealedForms } from './visit/sealed-form.ts'

const isSubmission = ({ method }: FastifyRequest): boolean => method !== 'GET' && method !== 'HEAD'

/** The GitLab Integration page: at / and /connect, with all that it needs below /connect and /assets. */
export const registerConnectPage = async (app: App, deps: ConnectPageDeps): Promise<void> => {
  const prefix = new URL(deps.publicUrl).pathname.replace(/\/$/, '')
  const at = (path: string): string => prefix + path
  const assets = registerAssets(app, prefix)
  const forms = createSealedForms(deps)
  const pages = createPages({ ...deps, forms, texts, assets, at })
  const context: PageContext = {
    ...deps,
    texts,
    pages,
    forms,
    receipts: createReceipts(deps),
    confirmations: createConfirmations(deps),
    deviceFlows: createDeviceFlows(deps),
    at,
  }
  await app.register(fastifyView, {
    engine: { eta: new Eta({ autoEscape: true }) },
    root: join(import.meta.dirname, 'views'),
    production: true,
  })

  app.addHook('onRequest', async (request, reply) => {
    reply.header('content-security-policy', contentSecurityPolicy())
    reply.header('cross-origin-opener-policy', 'same-origin')
    // Not no-referrer: with it browsers send "Origin: null" even to ourselves.
    reply.header('referrer-policy', 'same-origin')
    reply.header('cache-control', 'no-store')
    if (isSubmission(request) && !isFromOurPage(request, deps.publicUrl)) return refuseCrossSite(reply)
    return undefined
  })

  const refuseCrossSite = (reply: FastifyReply) =>
    pages.message(reply, { kind: 'advice', advice: texts.problem.crossSite(deps.publicUrl) }, 403)

  // What asks by HEAD wants to know what is there; a preview must not open a link or prolong a sign-in.
  app.addHook('onSend', async ({ method }, reply) => {
    if (method === 'HEAD') reply.removeHeader('set-cookie')
  })

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
  registerVisitRoutes(app, context)
  registerConnectRoutes(app, context)
  registerDeviceRoutes(app, context)
  registerQuestionRoutes(app, context)
  registerAccountRoutes(app, context)
  registerProjectPages(app, context)
}
