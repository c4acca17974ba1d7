import type { Server } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyRequest,
  LogController,
} from 'fastify'
import type { Logger } from 'pino'
import { v7 as uuidv7 } from 'uuid'
import { answerError, answerNotFound } from './errors.ts'
import { refuseForeignHosts } from './hosts.ts'
import { acceptJsonOnly } from './json-body.ts'
import { problemSchema } from './problem-schema.ts'
import { refuseUnstorableTexts } from './texts.ts'
import { createCompilersFactory } from './validator.ts'

export type App = FastifyInstance<
  Server,
  import('node:http').IncomingMessage,
  import('node:http').ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

export type ServerOptions = {
  logger: Logger
  trustProxy: boolean | string
  publicUrl: string
  /** Under which host names it answers beside that of publicUrl and those of this machine; undefined = any. */
  allowedHosts: string[] | undefined
  /** Whether the end was announced: answers then tell clients to close their connections. */
  isDraining?: () => boolean
}

const BODY_LIMIT_BYTES = 65_536
/** For a request to arrive as a whole, its headers included. What is late is looked for every second. */
const REQUEST_TIMEOUT_MS = 10_000
const LATE_CHECK_MS = 1_000
/** Longer than a load balancer keeps an idle connection (60 s by custom), so that it never meets a closed one. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000
const A_YEAR_SECONDS = 31_536_000

/** The property of a request for who calls; callers/authenticator.ts fills it. */
export const CALLER = 'caller'

/** Unique over all processes and restarts, without asking for random bytes each time. */
const PROCESS_ID = uuidv7()
let requests = 0
const nextRequestId = (): string => {
  requests += 1
  return `${PROCESS_ID}-${requests.toString(36)}`
}

/** A request for the log: its route, never what the caller wrote into path or query, which may be a secret. */
const serializeRequest = (request: FastifyRequest) => ({
  method: request.method,
  route: request.routeOptions?.url,
  remoteAddress: request.ip,
})

/** The Fastify server with our rules for input, errors and logs; no routes of its own. */
export const createServer = ({
  logger,
  trustProxy,
  publicUrl,
  allowedHosts,
  isDraining = () => false,
}: ServerOptions): App => {
  const app = Fastify({
    loggerInstance: logger.child({}, { serializers: { req: serializeRequest } }) as FastifyBaseLogger,
    trustProxy,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: LATE_CHECK_MS },
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    genReqId: nextRequestId,
    // One logger for all: a child for each request costs more than most requests, so they name their id themselves.
    childLoggerFactory: (parent) => parent,
    requestIdHeader: false,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    // What comes on a connection that is open still is served: the database is closed last.
    return503OnClosing: false,
    routerOptions: { ignoreTrailingSlash: true },
    // Otherwise HEAD would run what GET runs, and make a lease.
    exposeHeadRoutes: false,
    frameworkErrors: answerError,
    schemaController: { compilersFactory: createCompilersFactory() },
  }).withTypeProvider<TypeBoxTypeProvider>()

  app.decorateRequest(CALLER, null)
  app.addSchema(problemSchema)
  app.setErrorHandler(answerError)
  app.setNotFoundHandler(answerNotFound)
  const isHttps = new URL(publicUrl).protocol === 'https:'
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    reply.header('x-content-type-options', 'nosniff')
    reply.header('referrer-policy', 'no-referrer')
    if (isHttps) reply.header('strict-transport-security', `max-age=${A_YEAR_SECONDS}`)
    // What may be kept says so itself: files and the description.
    reply.header('cache-control', 'no-store')
    done()
  })
  if (allowedHosts)
    app.addHook('onRequest', refuseForeignHosts([new URL(publicUrl).hostname, ...allowedHosts]))
  // A connection that its client keeps open would hold up the end of the process for longer than anyone waits.
  let closing = false
  app.addHook('preClose', (done) => {
    closing = true
    done()
  })
  app.addHook('onSend', (_request, reply, payload, done) => {
    if (closing || isDraining()) reply.header('connection', 'close')
    done(null, payload)
  })
  app.addHook('preValidation', refuseUnstorableTexts)
  // Its fields are ours alone, none of them a secret: to look for some would cost more than the line.
  const requestLog = logger.child({}, { redact: [] })
  app.addHook('onResponse', (request, reply, done) => {
    const { url } = request.routeOptions
    requestLog.info(
      {
        request_id: request.id,
        method: request.method,
        route: url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
      },
      'request',
    )
    done()
  })
  acceptJsonOnly(app as unknown as App)
  return app as unknown as App
}
