import { Type } from 'typebox'
import { Problem } from '../errors/problem.ts'
import { publicProblems } from './problem-schema.ts'
import type { App } from './server.ts'

const tags = ['Service']
const Ok = Type.Object({ status: Type.Literal('ok') })

/** @param isReady throws, or answers false, while requests could not be served. */
export const registerServiceRoutes = (app: App, { isReady }: { isReady(): Promise<boolean> }): void => {
  app.get(
    '/healthz',
    {
      schema: {
        operationId: 'isAlive',
        tags,
        security: [],
        summary: 'Is the process alive',
        description: 'Asks nothing of the database: restart the process when this fails.',
        response: { 200: Ok, ...publicProblems() },
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
        summary: 'Can it serve requests',
        description: 'Whether the database answers.',
        response: { 200: Ok, ...publicProblems() },
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
        summary: 'This description',
        description: 'OpenAPI 3.1, the same that Swagger UI at /docs shows.',
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
