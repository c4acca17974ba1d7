import type { Server } from 'node:http'
import cookie from '@fastify/cookie'
import formbody from '@fastify/formbody'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Ajv } from 'ajv'
import addFormatsModule from 'ajv-formats'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyRequest,
  LogController,
} from 'fastify'
import type { Logger } from 'pino'
import { v7 as uuidv7 } from 'uuid'
import { answerError, answerNotFound } from './errors.ts'
import { problemSchema } from './problem-schema.ts'

export type App = FastifyInstance<
  Server,
  import('node:http').IncomingMessage,
  import('node:http').ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

export type ServerOptions = { logger: Logger; trustProxy: boolean | string }

const BODY_LIMIT_BYTES = 65_536
const REQUEST_TIMEOUT_MS = 30_000
/** Longer than a load balancer keeps an idle connection (60 s by custom), so that it never meets a closed one. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000

// ajv-formats is CommonJS: its function is the default export of the default export.
const addFormats = addFormatsModule as unknown as (ajv: Ajv) => void

/** Bodies are taken as they are; what comes in a URL is text and is converted. Unknown fields are faults in both. */
const createValidator = (coerceTypes: boolean): Ajv => {
  const ajv = new Ajv({
    coerceTypes,
    useDefaults: true,
    removeAdditional: false,
    allErrors: true,
    strict: false,
  })
  addFormats(ajv)
  return ajv
}

/** A request for the log: never its query, which may hold a session token or an authorization code. */
const serializeRequest = (request: FastifyRequest) => ({
  method: request.method,
  path: request.url?.split('?', 1)[0],
  remoteAddress: request.ip,
})

/** The Fastify server with our rules for input, errors and logs; no routes of its own. */
export const createServer = async ({ logger, trustProxy }: ServerOptions): Promise<App> => {
  const app = Fastify({
    loggerInstance: logger.child({}, { serializers: { req: serializeRequest } }) as FastifyBaseLogger,
    trustProxy,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    genReqId: () => uuidv7(),
    requestIdHeader: false,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    return503OnClosing: true,
    routerOptions: { ignoreTrailingSlash: true },
    frameworkErrors: answerError,
  }).withTypeProvider<TypeBoxTypeProvider>()

  const bodies = createValidator(false)
  const texts = createValidator(true)
  app.setValidatorCompiler(({ schema, httpPart }) => (httpPart === 'body' ? bodies : texts).compile(schema))

  app.addSchema(problemSchema)
  app.setErrorHandler(answerError)
  app.setNotFoundHandler(answerNotFound)
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
    reply.header('x-content-type-options', 'nosniff')
    reply.header('referrer-policy', 'no-referrer')
  })
  app.addHook('onResponse', async (request, reply) => {
    const { url } = request.routeOptions
    request.log.info(
      {
        method: request.method,
        route: url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
      },
      'request',
    )
  })
  await app.register(cookie)
  await app.register(formbody)
  return app as unknown as App
}
