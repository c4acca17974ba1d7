import { Type } from 'typebox'
import { Problem } from '../errors/problem.ts'
import { publicProblems } from './problem-schema.ts'
import type { Readiness } from './readiness.ts'
import { refTo } from './schemas.ts'
import type { App } from './server.ts'

const tags = ['Service']
const RETRY_SECONDS = 5

const Alive = Type.Object({ status: Type.Literal('ok') })

const ReadinessCheck = Type.Object(
  {
    name: Type.String({
      description: '`serving`, `database`, `writable`, `schema`, `keys`, `spool` or `clock`; more may come.',
    }),
    outcome: Type.String({
      enum: ['ok', 'warning', 'failed', 'unknown'],
      description: '`ok` and `warning` are no reason to send requests elsewhere.',
    }),
    detail: Type.String({ description: 'For people; it may change.' }),
  },
  { $id: 'ReadinessCheck' },
)

const Ready = Type.Object({ status: Type.Literal('ok'), checks: Type.Array(refTo(ReadinessCheck)) })

const READINESS = `Whether requests should come here, with every check by name:

- \`serving\`: the start is done and no end was announced. After SIGTERM this fails with \`draining\` while requests are still served.
- \`database\`: the database answers. \`writable\`: it is no standby and takes changes.
- \`schema\`: all migrations of this version are there, and none that it cannot live with.
- \`keys\`: the data keys are open.
- \`spool\`: the folder that keeps tokens while the database is away can be written.
- \`clock\`: the clock of this machine is within 10 s of the database's; a warning beyond 2 s.

GitLab being away is no reason. A 503 holds the same \`checks\` as a member of the problem.`

/** @param readiness looks anew with each call. */
export const registerServiceRoutes = (app: App, { readiness }: { readiness(): Promise<Readiness> }): void => {
  app.addSchema(ReadinessCheck)

  app.get(
    '/healthz',
    {
      schema: {
        operationId: 'isAlive',
        tags,
        security: [],
        summary: 'Is the process alive',
        description: 'Asks nothing of the database: restart the process when this fails.',
        response: { 200: Alive, ...publicProblems() },
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
        description: READINESS,
        response: { 200: Ready, ...publicProblems('draining', 'not_ready') },
      },
    },
    async (_request, reply) => {
      const { checks, refusal } = await readiness()
      reply.header('cache-control', 'no-store')
      if (refusal)
        throw new Problem(refusal.code, refusal.detail, {
          retryAfterSeconds: RETRY_SECONDS,
          members: { checks },
        })
      return { status: 'ok' as const, checks }
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
