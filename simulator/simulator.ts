import cookie from '@fastify/cookie'
import formbody from '@fastify/formbody'
import fastify, { type FastifyError, type FastifyInstance } from 'fastify'
import { accessTokenRoutes } from './access-tokens.ts'
import { apiRoutes } from './api.ts'
import { authorizeRoutes } from './authorize.ts'
import { type Clock, createClock } from './clock.ts'
import { controlRoutes } from './control.ts'
import { createFaults, type Faults } from './faults.ts'
import { gitRoutes } from './git.ts'
import { createGitRepositories } from './git-repositories.ts'
import type { NewApp } from './grants.ts'
import { watchRequests } from './interference.ts'
import { oauthRoutes } from './oauth.ts'
import { createIdTokens, openidRoutes } from './openid.ts'
import { createPresenter } from './places.ts'
import { Refusal } from './refusal.ts'
import { createRequestLog, type RequestLog } from './requests.ts'
import { seed } from './seed.ts'
import { createWorld, type World } from './world.ts'

export type Simulator = {
  /** With the relative path, if there is one; no slash at the end. */
  url: string
  clock: Clock
  faults: Faults
  world: World
  /** What was called. */
  requests: RequestLog
  close(): Promise<void>
}

export type SimulatorOptions = {
  /** Default 0: any free port. */
  port?: number
  /** Such as `/gitlab`: a GitLab under a relative URL root. */
  path?: string
  /** Milliseconds; default `Date.now`. Whatever `clock.advance` was given is added. */
  now?: () => number
  /** PEM; with it the URL is https. */
  tls?: { key: string; cert: string }
  /** Default 7200, as GitLab. */
  accessTokenLifetimeSeconds?: number
  /** OAuth apps besides the seeded one. */
  apps?: NewApp[]
  /** Default true; false = every repository looks empty, and git is never run. */
  repositories?: boolean
  /** Of this whole GitLab, per second of its clock. */
  rateLimit?: { requestsPerSecond: number }
  /** 0 to 1, for faults with a probability; default `Math.random`. */
  random?: () => number
}

const DEFAULT_ACCESS_TOKEN_LIFETIME_SECONDS = 7200
/** A project is named by its whole encoded path, longer than what the router takes for a parameter by default. */
const MAXIMUM_PARAMETER_LENGTH = 2000

const createServer = (tls: SimulatorOptions['tls']): FastifyInstance => {
  const shared = {
    logger: false,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: MAXIMUM_PARAMETER_LENGTH },
  } as const
  return tls ? (fastify({ ...shared, https: tls }) as unknown as FastifyInstance) : fastify(shared)
}

const readBodiesLikeGitLab = (app: FastifyInstance): void => {
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined)
    else parseJson(request, body as string, done)
  })
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, _body, done) => done(null, undefined))
}

const answerRefusals = (app: FastifyInstance): void => {
  app.setErrorHandler((error: FastifyError, _request, reply) => {
    if (error instanceof Refusal) return reply.code(error.status).headers(error.headers).send(error.body)
    const status = error.statusCode ?? 500
    if (status < 500) return reply.code(status).send({ message: `${status} ${error.message}` })
    return reply.code(500).send({ message: '500 Internal Server Error' })
  })
}

/** A GitLab in this process: OAuth provider, the API around tokens, groups and projects, and Git over HTTP. */
export const startSimulator = async (options: SimulatorOptions = {}): Promise<Simulator> => {
  const { port = 0, path: basePath = '', tls, apps = [], rateLimit } = options
  const clock = createClock(options.now)
  const world = createWorld({
    clock,
    accessTokenLifetimeSeconds: options.accessTokenLifetimeSeconds ?? DEFAULT_ACCESS_TOKEN_LIFETIME_SECONDS,
  })
  seed(world)
  for (const app of apps) world.addApp(app)
  const faults = createFaults(options.random)
  const requests = createRequestLog()
  const repositories = options.repositories === false ? undefined : createGitRepositories()
  let url = ''
  const baseUrl = () => url

  const server = createServer(tls)
  readBodiesLikeGitLab(server)
  answerRefusals(server)
  await server.register(cookie)
  await server.register(formbody)
  watchRequests(server, { clock, basePath, faults, requests, rateLimit })
  await server.register(
    async (app) => {
      const idTokens = createIdTokens(clock, baseUrl)
      const context = { world, present: createPresenter(world.people, baseUrl), basePath, baseUrl }
      oauthRoutes(app, world, clock, idTokens, baseUrl)
      openidRoutes(app, idTokens, baseUrl)
      authorizeRoutes(app, world, basePath)
      accessTokenRoutes(app, context)
      apiRoutes(app, context)
      controlRoutes(app, { world, clock, faults, requests, baseUrl })
      gitRoutes(app, world, repositories, basePath, baseUrl)
    },
    { prefix: basePath },
  )
  url = `${await server.listen({ host: '127.0.0.1', port })}${basePath}`

  return {
    url,
    clock,
    faults,
    world,
    requests,
    async close() {
      await server.close()
      await repositories?.close()
    },
  }
}
