import { Type } from 'typebox'
import { Problem } from '../errors/problem.ts'
import { publicProblems } from './problem-schema.ts'
import type { Readiness } from './readiness.ts'
import { refTo } from './schemas.ts'
import { type ServedText, sendText, toServedText } from './served-text.ts'
import type { App } from './server.ts'

const tags = ['Service']
const RETRY_SECONDS = 5
/** Monitors ask for them by HEAD: they are there, and nothing of them is run. */
const PAGES = ['/', '/connect', '/docs']

const ServiceStatus = Type.Object(
  { status: Type.Literal('ok') },
  { $id: 'ServiceStatus', description: 'The service is well.' },
)

const ReadinessCheck = Type.Object(
  {
    name: Type.String({
      description:
        '`serving`, `database`, `writable`, `schema`, `keys`, `spool`, `history` or `clock`; more may come.',
    }),
    outcome: Type.String({
      enum: ['ok', 'warning', 'failed', 'unknown'],
      description: '`ok` and `warning` are no reason to send requests elsewhere.',
    }),
    detail: Type.String({ description: 'For people; it may change.' }),
  },
  { $id: 'ReadinessCheck', description: 'One thing that serving takes, and how it is.' },
)

const Ready = Type.Object(
  { status: Type.Literal('ok'), checks: Type.Array(refTo(ReadinessCheck)) },
  { $id: 'Readiness', description: 'The service can serve requests.' },
)

const READINESS = `Whether requests should come here, with every check by name:

- \`serving\`: the start is done and no end was announced. After SIGTERM this fails with \`draining\` while requests are still served.
- \`database\`: the database answers. \`writable\`: it is no standby and takes changes.
- \`schema\`: all migrations of this version are there, and none that it cannot live with.
- \`keys\`: the data keys are open.
- \`spool\`: the folder that keeps tokens while the database is away can be written.
- \`history\`: a warning when the database went back to an earlier state, by a restore or a failover. It fails when for more than
  30 s it is not settled whether the database did: until then no token is handed out.
- \`clock\`: the clock of this machine is within 10 s of the database's; a warning beyond 2 s.

GitLab being away is no reason. A 503 holds the same \`checks\` as a member of the problem.`

/** @param readiness looks anew with each call. */
export const registerServiceRoutes = (app: App, { readiness }: { readiness(): Promise<Readiness> }): void => {
  for (const schema of [ServiceStatus, ReadinessCheck, Ready]) app.addSchema(schema)

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
        description: READINESS,
        response: { 200: refTo(Ready), ...publicProblems('draining', 'not_ready') },
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
