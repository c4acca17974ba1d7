import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { NewAccessToken } from './access-token-store.ts'
import type { Clock } from './clock.ts'
import type { FaultEffect, FaultRule, Faults } from './faults.ts'
import { isLieName, LIES } from './lies.ts'
import { isProxyName, PROXIES } from './proxies.ts'
import { Refusal } from './refusal.ts'
import type { RequestLog } from './requests.ts'
import type { World } from './world.ts'

type Control = { world: World; clock: Clock; faults: Faults; requests: RequestLog; baseUrl: () => string }

/** A rule as JSON: `path` is the whole path, `path_pattern` a regular expression, `times` a number or "always". */
type WrittenRule = {
  match?: { method?: string; path?: string; path_pattern?: string; grant_type?: string }
  times?: number | 'always'
  probability?: number
  effect?: {
    kind: string
    lie?: string
    seconds?: number
    status?: number
    body?: string
    retry_after_seconds?: number
    throttle?: string
    proxy?: string
    headers?: Record<string, string>
  }
}

const badRequest = (message: string) => new Refusal(400, { message })

const readEffect = (written: WrittenRule['effect']): FaultEffect => {
  const { kind, lie = '', proxy = '', throttle, ...more } = written ?? { kind: '' }
  const { seconds = 1, status = 500, body, headers, retry_after_seconds = 60 } = more
  switch (kind) {
    case 'delay':
      return { kind, seconds }
    case 'status':
      return { kind, status, ...(body === undefined ? {} : { body }), ...(headers ? { headers } : {}) }
    case 'lie':
      if (!isLieName(lie)) throw badRequest(`effect.lie: ${Object.keys(LIES).join(', ')}`)
      return { kind, lie }
    case 'rate-limit':
      return {
        kind,
        retryAfterSeconds: retry_after_seconds,
        ...(throttle === undefined ? {} : { name: throttle }),
      }
    case 'proxy':
      if (!isProxyName(proxy)) throw badRequest(`effect.proxy: ${Object.keys(PROXIES).join(', ')}`)
      return { kind, proxy }
    case 'address-ban':
    case 'html':
    case 'cut-before':
    case 'cut-after':
    case 'maintenance':
    case 'invalid-grant':
    case 'hang':
      return { kind }
    default:
      throw badRequest(
        'effect.kind: delay, status, html, lie, proxy, cut-before, cut-after, rate-limit, address-ban, maintenance, invalid-grant or hang',
      )
  }
}

const readRule = ({ match = {}, times = 1, probability, effect }: WrittenRule): FaultRule => {
  const { method, path, path_pattern, grant_type } = match
  const wantedPath = path_pattern === undefined ? path : new RegExp(path_pattern)
  return {
    match: {
      ...(method === undefined ? {} : { method }),
      ...(wantedPath === undefined ? {} : { path: wantedPath }),
      ...(grant_type === undefined ? {} : { grantType: grant_type }),
    },
    times: times === 'always' ? Infinity : times,
    ...(probability === undefined ? {} : { probability }),
    effect: readEffect(effect),
  }
}

const describe = ({ world, clock, baseUrl }: Control) => {
  const { people, grants, accessTokens } = world
  return {
    url: baseUrl(),
    now: new Date(clock.now()).toISOString(),
    users: [...people.users()]
      .filter(({ bot }) => !bot)
      .map(({ id, username, name, state }) => ({ id, username, name, state })),
    oauth_apps: [...grants.apps()].map((app) => ({
      client_id: app.clientId,
      client_secret: app.clientSecret,
      redirect_uris: app.redirectUris,
      scopes: app.scopes,
      trusted: app.trusted,
    })),
    access_tokens: [...accessTokens.all()].filter(accessTokens.isActive).map((token) => ({
      kind: token.kind,
      token: token.token,
      username: token.user.username,
      scopes: token.scopes,
      expires_at: token.expiresAt,
    })),
    groups: [...people.groups()].map(({ id, fullPath, visibility }) => ({
      id,
      full_path: fullPath,
      visibility,
    })),
    repositories: [...people.projects()].map(({ id, fullPath, visibility }) => ({
      id,
      url: `${baseUrl()}/${fullPath}.git`,
      visibility,
    })),
    control: {
      'GET /-/simulator': 'this page',
      'GET /-/simulator/requests': 'what was called, newest last',
      'GET /-/simulator/events': 'what happened to every token',
      'POST /-/simulator/clock': { advance_seconds: 7200 },
      'POST /-/simulator/faults': {
        match: { path: '/oauth/token', grant_type: 'refresh_token' },
        times: 1,
        effect: { kind: 'cut-after' },
      },
      'DELETE /-/simulator/faults': 'ends all faults',
      'POST /-/simulator/access-tokens': {
        kind: 'personal',
        username: 'maria',
        scopes: ['read_api', 'read_repository'],
      },
    },
  }
}

/** The switches of the simulator over HTTP, for people who run it alone. They are no part of GitLab. */
export const controlRoutes = (app: FastifyInstance, control: Control): void => {
  const { world, clock, faults, requests } = control
  const bodyOf = <T>(request: FastifyRequest): Partial<T> => (request.body ?? {}) as Partial<T>
  /** What a mutator of the world throws is a mistake of whoever called. */
  const orBadRequest = <T>(change: () => T): T => {
    try {
      return change()
    } catch (error) {
      throw error instanceof Refusal ? error : badRequest((error as Error).message)
    }
  }

  app.get('/', async (_request, reply) => reply.redirect(`${control.baseUrl()}/-/simulator`, 302))
  app.get('/-/simulator', async () => describe(control))
  app.get('/-/simulator/requests', async () => requests.all())
  app.get('/-/simulator/events', async () => world.events)

  app.post('/-/simulator/clock', async (request) => {
    const { advance_seconds } = bodyOf<{ advance_seconds: number }>(request)
    if (typeof advance_seconds !== 'number') throw badRequest('advance_seconds: a number')
    clock.advance(advance_seconds)
    return { now: new Date(clock.now()).toISOString() }
  })

  app.post('/-/simulator/faults', async (request, reply) => {
    orBadRequest(() => faults.add(readRule(bodyOf<WrittenRule>(request))))
    return reply.code(204).send()
  })

  app.delete('/-/simulator/faults', async (_request, reply) => {
    faults.clear()
    return reply.code(204).send()
  })

  app.post('/-/simulator/access-tokens', async (request, reply) => {
    const { expires_at, ...wanted } = bodyOf<NewAccessToken & { expires_at: string | null }>(request)
    const { kind = 'personal', scopes = [], ...rest } = wanted
    const expiry = expires_at === undefined ? {} : { expiresAt: expires_at }
    return reply
      .code(201)
      .send(orBadRequest(() => world.createAccessToken({ kind, scopes, ...rest, ...expiry })))
  })
}
