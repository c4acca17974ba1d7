import { createHash } from 'node:crypto'
import rateLimit, { normalizeIP, type RateLimitOptions } from '@fastify/rate-limit'
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { Clock } from '../clock/clock.ts'
import type { LimitSettings } from '../config/limits.ts'
import type { Database } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import { ALWAYS_ANSWERED } from '../http/pressure.ts'
import { type App, CALLER } from '../http/server.ts'
import { createGuesses, type Guesses } from './guesses.ts'
import { limitOf } from './limited-routes.ts'
import { createRequestCounter } from './request-counter.ts'

type Deps = {
  db: Database
  clock: Clock
  settings: LimitSettings
  /** Whether this process remembers the credential of an earlier request: then it is no guess. */
  isRemembered(credential: string): boolean
}

const UNAUTHORIZED = 401
const CREDENTIAL = /^Bearer +(\S+)$/i

/** Where the credential stands in the form: RFC 8693, section 2.1. */
const TOKEN_EXCHANGE = '/v1/token'

const credentialOf = ({ headers, routeOptions, body }: FastifyRequest): string | undefined => {
  if (routeOptions.url !== TOKEN_EXCHANGE) return CREDENTIAL.exec(headers.authorization ?? '')?.[1]
  const { subject_token } = { ...(body as { subject_token?: unknown } | undefined) }
  return typeof subject_token === 'string' ? subject_token : undefined
}
/** One subnet of 64 bits is one address: whoever has one has them all. */
const addressOf = (request: FastifyRequest): string => normalizeIP(request.ip)
const callerOf = (request: FastifyRequest): string | undefined =>
  request.getDecorator<{ id: string } | null>(CALLER)?.id

/** Many people may share an address: for those whose link the request does not name. */
const LINKS_PER_ADDRESS = 10
const ADDRESS = 'address '

/** A connect link by its hash; without one, the address. */
const linkOf = (request: FastifyRequest): string => {
  const { session } = { ...(request.body as object | undefined), ...(request.query as object) } as {
    session?: unknown
  }
  if (typeof session !== 'string') return ADDRESS + addressOf(request)
  return createHash('sha256').update(session).digest('base64url')
}

const problemFor = (_request: FastifyRequest, { ttl }: { ttl: number }): Problem =>
  new Problem('rate_limited', 'Too many requests of this kind; wait, then try again.', {
    retryAfterSeconds: ttl / 1000,
  })

/** What @fastify/rate-limit reads from a route; undefined = no limit of this process. */
const pluginOptionsFor = (limit: string, settings: LimitSettings): RateLimitOptions | undefined => {
  const { connectSessionsPerKey, flowStartsPerLink } = settings
  if (limit === 'connect session' && connectSessionsPerKey > 0)
    return {
      max: connectSessionsPerKey,
      keyGenerator: (request: FastifyRequest) => callerOf(request) ?? addressOf(request),
    }
  if (limit === 'flow start' && flowStartsPerLink > 0)
    return {
      max: (_request: FastifyRequest, key: string) =>
        key.startsWith(ADDRESS) ? LINKS_PER_ADDRESS * flowStartsPerLink : flowStartsPerLink,
      keyGenerator: linkOf,
    }
  return undefined
}

type Hook = (request: FastifyRequest, reply: FastifyReply) => Promise<void>

const countTokenCheck =
  (guesses: Guesses): Hook =>
  async (request) => {
    const caller = callerOf(request)
    const sources = [`address ${addressOf(request)}`, ...(caller === undefined ? [] : [`caller ${caller}`])]
    for (const source of sources) guesses.refuse('token', source)
    for (const source of sources) await guesses.count('token', source)
  }

const append = (route: RouteOptions, hook: 'preHandler' | 'onSend', added: Hook): void => {
  const hooks = [route[hook] ?? []].flat() as Hook[]
  route[hook] = [...hooks, added] as never
}

/** Failures are counted before the answer leaves: what was evaluated while others used up the limit stays unsaid. */
const guardSignIn = (route: RouteOptions, guesses: Guesses): void => {
  append(route, 'preHandler', async (request) => guesses.refuse('sign_in', addressOf(request)))
  append(route, 'onSend', async (request, reply) => {
    try {
      if (reply.statusCode === UNAUTHORIZED) await guesses.count('sign_in', addressOf(request))
      else if (reply.statusCode < UNAUTHORIZED) guesses.refuse('sign_in', addressOf(request))
    } catch (error) {
      reply.removeHeader('set-cookie')
      reply.removeHeader('location')
      throw error
    }
  })
}

/** @throws {Problem} rate_limited */
const createRequestLimit = ({ requestsPerKey }: LimitSettings, clock: Clock) => {
  const counter = createRequestCounter(requestsPerKey)
  return (request: FastifyRequest): void => {
    const caller = callerOf(request)
    const waitMs = caller === undefined || requestsPerKey === 0 ? undefined : counter.count(caller, clock())
    if (waitMs !== undefined)
      throw new Problem('rate_limited', 'This access key asks too often.', {
        retryAfterSeconds: waitMs / 1000,
      })
  }
}

const limitRoute = (route: RouteOptions, settings: LimitSettings, guesses: Guesses): void => {
  const limit = [route.method]
    .flat()
    .map((method) => limitOf(method, route.url))
    .find(Boolean)
  if (limit === 'token check') append(route, 'preHandler', countTokenCheck(guesses))
  if (limit === 'sign-in') guardSignIn(route, guesses)
  const options = limit && pluginOptionsFor(limit, settings)
  if (options) route.config = { ...route.config, rateLimit: options }
}

/** Wrong keys are counted by address; who guessed too often is refused, but for keys that this process remembers. */
const guardKeys = (app: App, deps: Deps, guesses: Guesses): void => {
  const refuseGuesses = (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void) => {
    if (!guesses.isAnyRefused() || ALWAYS_ANSWERED.has(request.routeOptions.url ?? '')) return done()
    const credential = credentialOf(request)
    try {
      if (credential !== undefined && !deps.isRemembered(credential))
        guesses.refuse('key', addressOf(request))
      done()
    } catch (error) {
      done(error as Problem)
    }
  }
  app.addHook('onRequest', refuseGuesses)
  // Again with the body: a form may hold the credential.
  app.addHook('preValidation', (request, reply, done) =>
    request.routeOptions.url === TOKEN_EXCHANGE ? refuseGuesses(request, reply, done) : done(),
  )
  app.addHook('onError', async (request, _reply, error) => {
    if (error.code !== 'unauthorized' || credentialOf(request) === undefined) return
    // The answer is on its way already: whether there are any left is for the next request.
    await guesses.count('key', addressOf(request)).catch(() => undefined)
  })
}

/**
 * Limits by key, address and link. Must be registered before the routes. Off the hot path: a lookup passes one counter
 * in memory and one comparison; statements are only for what may be a guess.
 */
export const registerLimits = async (app: App, deps: Deps): Promise<void> => {
  const { settings, db, clock } = deps
  const guesses = createGuesses({
    db,
    clock,
    limits: { key: settings.wrongKeys, sign_in: settings.failedSignIns, token: settings.tokenChecks },
  })

  app.addHook('onRoute', (route) => limitRoute(route as RouteOptions, settings, guesses))
  await app.register(rateLimit, {
    global: false,
    hook: 'preHandler',
    timeWindow: 60_000,
    addHeadersOnExceeding: {
      'x-ratelimit-limit': false,
      'x-ratelimit-remaining': false,
      'x-ratelimit-reset': false,
    },
    addHeaders: {
      'x-ratelimit-limit': false,
      'x-ratelimit-remaining': false,
      'x-ratelimit-reset': false,
      'retry-after': false,
    },
    errorResponseBuilder: problemFor,
  })

  guardKeys(app, deps, guesses)

  const countRequest = createRequestLimit(settings, clock)
  app.addHook('preValidation', (request, _reply, done) => {
    try {
      countRequest(request)
      done()
    } catch (error) {
      done(error as Problem)
    }
  })
  // Who exchanges a token is known with the form alone.
  app.addHook('onRoute', (route) => {
    if (route.url === TOKEN_EXCHANGE)
      append(route as RouteOptions, 'preHandler', async (request) => countRequest(request))
  })
}
