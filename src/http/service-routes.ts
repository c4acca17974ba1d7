import { Type } from 'typebox'
import { Problem } from '../errors/problem.ts'
import { publicProblems } from './problem-schema.ts'
import { refTo } from './schemas.ts'
import type { App } from './server.ts'

const tags = ['Service']
const ServiceStatus = Type.Object(
  { status: Type.Literal('ok') },
  { $id: 'ServiceStatus', description: 'The service is well.' },
)

/** @param isReady throws, or answers false, while requests could not be served. */
export const registerServiceRoutes = (app: App, { isReady }: { isReady(): Promise<boolean> }): void => {
  app.addSchema(ServiceStatus)
  app.get(
    '/healthz',
    {
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
      schema: {
        operationId: 'getOpenApi',
        tags,
        security: [],
        summary: 'Read this description',
        description: 'OpenAPI 3.1. Swagger UI at /docs shows the same.',
        response: {
          200: { description: 'OpenAPI 3.1', content: { 'application/yaml': { schema: Type.String() } } },
          ...publicProblems(),
        },
      },
    },
    async (_request, reply) =>
      reply
        .type('application/yaml')
        .serializer(String)
        .send(app.swagger({ yaml: true })),
  )
}
