import { Type } from 'typebox'
import { Problem } from '../errors/problem.ts'
import { publicProblems } from './problem-schema.ts'
import { refTo } from './schemas.ts'
import { type ServedText, sendText, toServedText } from './served-text.ts'
import type { App } from './server.ts'

const tags = ['Service']
/** Monitors ask for them by HEAD: they are there, and nothing of them is run. */
const PAGES = ['/', '/connect', '/docs']

const ServiceStatus = Type.Object(
  { status: Type.Literal('ok') },
  { $id: 'ServiceStatus', description: 'The service is well.' },
)

/** @param isReady throws, or answers false, while requests could not be served. */
export const registerServiceRoutes = (app: App, { isReady }: { isReady(): Promise<boolean> }): void => {
  app.addSchema(ServiceStatus)
  let description: ServedText | undefined
  app.get(
    '/healthz',
    {
      exposeHeadRoute: true,
      schema: {
        operationId: 'isAlive',
        tags,
        security: [],
        summary: 'Ask whether the process is alive',
        description: 'Does not ask the database. Restart the process when this fails.',
        response: { 200: refTo(ServiceStatus), ...publicProblems() },
      },
    },
    async () => ({ status: 'ok' as const }),
  )

  app.get(
    '/readyz',
    {
      exposeHeadRoute: true,
      schema: {
        operationId: 'isReady',
        tags,
        security: [],
        summary: 'Ask whether the service can serve requests',
        description: 'Asks the database. Send no requests to this process while this fails.',
        response: { 200: refTo(ServiceStatus), ...publicProblems() },
      },
    },
    async () => {
      if (!(await isReady().catch(() => false))) {
        throw new Problem('database_unavailable', 'The database cannot be reached.', { retryAfterSeconds: 5 })
      }
      return { status: 'ok' as const }
    },
  )

  app.get(
    '/openapi.yaml',
    {
      exposeHeadRoute: true,
      schema: {
        operationId: 'getOpenApi',
        tags,
        security: [],
        summary: 'Read this description',
        description: 'OpenAPI 3.1. Swagger UI at /docs shows the same.',
        response: {
          200: { description: 'OpenAPI 3.1', content: { 'application/yaml': { schema: Type.String() } } },
          304: Type.Null({ description: 'The description is what If-None-Match names.' }),
          ...publicProblems(),
        },
      },
    },
    async (request, reply) => {
      description ??= toServedText('application/yaml', app.swagger({ yaml: true }))
      return sendText(request, reply, description)
    },
  )

  for (const url of PAGES)
    app.head(url, { schema: { hide: true } }, (_request, reply) => reply.type('text/html').send())
}
