import cookie, { type CookieSerializeOptions } from '@fastify/cookie'
import type { FastifyOAuth2Options, OAuth2Namespace } from '@fastify/oauth2'
import Fastify, {
  type FastifyInstance,
  type FastifyPluginCallback,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock/clock.ts'
import type { InstanceRow, OAuthAppRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { NOT_COMPRESSED } from '../gitlab/content-encoding.ts'
import type { AboutCall } from '../gitlab/guard.ts'
import { isSchemeAllowed, MAX_ANSWER_BYTES, readRetryAfter } from '../gitlab/http-client.ts'
import { classifyTransportError } from '../gitlab/transport-failure.ts'
import { cookieName } from '../http/cookie-name.ts'
import type { InstanceClients } from '../instances/instance-clients.ts'
import { readStoredSecret } from '../pasted/read-pasted.ts'
import type { Vault } from '../vault/vault.ts'
import { callbackUrl } from './callback-url.ts'
import { agentFor } from './client-agent.ts'
import { openClientSecret } from './save-oauth-app.ts'
import { classifyTokenError, readTokenSet, type TokenAnswer } from './token-answer.ts'

/** The OAuth 2.0 client of one registered app (RFC 6749), run by @fastify/oauth2. */
export type OAuthClient = {
  /**
   * Sets the state and PKCE cookies on the reply.
   * @param flow tells the flows of one browser apart: each has cookies of its own, so two tabs do not disturb each other.
   */
  authorizationUrl(
    request: FastifyRequest,
    reply: FastifyReply,
    { state, flow }: { state: string; flow: string },
  ): Promise<string>
  /** Whether the state parameter is the one that this browser was given for this flow. */
  isStateOfBrowser(request: FastifyRequest, flow: string): boolean
  /** Checks the state against the cookie, clears the cookies, and exchanges the code (RFC 6749, section 4.1.3). */
  exchangeCode(request: FastifyRequest, reply: FastifyReply, flow: string): Promise<TokenAnswer>
  /** RFC 6749, section 6. Never retries: what to do about no answer is the caller's decision. */
  refresh(refreshToken: string, about?: Pick<AboutCall, 'turnAway'>): Promise<TokenAnswer>
}

export type OAuthClients = {
  /** The client for an app as it is now; kept by app version and instance version. */
  for(app: OAuthAppRow, instance: InstanceRow): Promise<OAuthClient>
  /** The same client where it is kept, without a look at the rows of app and instance. */
  known(appId: string, appVersion: number, instanceVersion: number): Promise<OAuthClient | undefined>
  close(): Promise<void>
}

type Deps = { vault: Vault; clock: Clock; instanceClients: InstanceClients; publicUrl: string }

const KEPT_CLIENTS = 200
/** An admin has to act first. */
const REJECTED_RETRY_SECONDS = 300
const FLOW_SECONDS = 600
const states = new WeakMap<FastifyRequest, string>()

class InvalidStateError extends Error {}
/** What is stored of an app can be sent nowhere. */
class UnusableAppError extends Error {}

/**
 * Not by `register`: what the plugin throws there ends the process, and its message and properties hold the options,
 * the client secret among them.
 */
const install = (
  carrier: FastifyInstance,
  oauth2: FastifyPluginCallback<FastifyOAuth2Options>,
  options: FastifyOAuth2Options,
): Promise<void> =>
  new Promise<void>((resolve, reject) => {
    oauth2(carrier, options, (error) => (error ? reject(error) : resolve()))
  }).catch(() => {
    throw new UnusableAppError()
  })

type CookiesOfFlow = Pick<FastifyRequest, 'query' | 'cookies'>

/** The plugin knows one name for each cookie; in the browser the flow is a part of the name. */
const nameOfFlow = (name: string, flow: string): string => `${name}-${flow}`

/**
 * Id and secret as they can be sent: rows of before may hold blanks, line ends and invisible characters around them.
 * @throws {UnusableAppError}
 */
const sendableCredentials = async (vault: Vault, app: OAuthAppRow) => {
  const id = readStoredSecret(app.client_id)
  const secret = readStoredSecret(await openClientSecret(vault, app))
  if (id !== undefined && secret !== undefined) return { id, secret }
  throw new UnusableAppError()
}

/**
 * Stands for an app that cannot be used: every exchange ends as if GitLab had refused the app, so that no token is
 * taken for dead and a living one is handed out on.
 */
const unusableClient = ({ slug }: OAuthAppRow): OAuthClient => ({
  isStateOfBrowser: () => false,
  async authorizationUrl() {
    throw new Problem(
      'oauth_app_rejected',
      `The OAuth client does not take what is stored of the app "${slug}": an admin has to enter its id and secret anew (PATCH /v1/oauth-apps/{id}).`,
      { retryAfterSeconds: REJECTED_RETRY_SECONDS },
    )
  },
  exchangeCode: async () => ({ kind: 'refused', error: 'invalid_client' }),
  refresh: async () => ({ kind: 'refused', error: 'invalid_client' }),
})

/** What the plugin reads of a request: the query, and the cookies of one flow under the names that it knows. */
const requestOfFlow = ({ query, cookies }: FastifyRequest, flow: string): FastifyRequest => {
  const ending = nameOfFlow('', flow)
  const own = Object.entries(cookies)
    .filter(([name]) => name.endsWith(ending))
    .map(([name, value]) => [name.slice(0, -ending.length), value])
  return { query, cookies: Object.fromEntries(own) } as unknown as FastifyRequest
}

/** What the plugin does to a reply: it sets and clears the cookies of one flow. */
const replyOfFlow = (reply: FastifyReply, flow: string): FastifyReply =>
  ({
    setCookie: (name: string, value: string, options: CookieSerializeOptions) =>
      reply.setCookie(nameOfFlow(name, flow), value, options),
    clearCookie: (name: string, options: CookieSerializeOptions) =>
      reply.clearCookie(nameOfFlow(name, flow), options),
  }) as unknown as FastifyReply

/** Whether the state parameter is the one that this browser was given. */
type StateCheck = (request: CookiesOfFlow) => boolean

const pluginOptions = async (
  app: OAuthAppRow,
  instance: InstanceRow,
  deps: Deps,
  { stateCookie, isState }: { stateCookie: string; isState: StateCheck },
): Promise<FastifyOAuth2Options> => {
  const client = deps.instanceClients.for(instance)
  const { pathname } = new URL(instance.base_url)
  const below = pathname === '/' ? '' : pathname
  const callback = callbackUrl(deps.publicUrl, app.slug)
  return {
    name: 'gitlab',
    credentials: {
      client: await sendableCredentials(deps.vault, app),
      auth: {
        tokenHost: new URL(instance.base_url).origin,
        tokenPath: `${below}/oauth/token`,
        revokePath: `${below}/oauth/revoke`,
        authorizePath: `${below}/oauth/authorize`,
      },
      http: {
        agent: agentFor(client.agent, client.issuingTimeoutMs),
        timeout: client.issuingTimeoutMs,
        redirects: false,
        // The token counts, whatever a proxy says of its type and puts around it.
        json: 'force',
        maxBytes: MAX_ANSWER_BYTES,
        headers: NOT_COMPRESSED,
      },
    },
    scope: app.scopes,
    callbackUri: callback,
    pkce: 'S256',
    redirectStateCookieName: stateCookie,
    verifierCookieName: cookieName(`oauth-verifier-${app.slug}`, deps.publicUrl),
    userAgent: 'gitlab-token-broker',
    cookie: {
      path: new URL(callback).pathname.replace(/\/callback$/, ''),
      secure: deps.publicUrl.startsWith('https:'),
      httpOnly: true,
      sameSite: 'lax',
      maxAge: FLOW_SECONDS,
    },
    generateStateFunction: (request: FastifyRequest) => states.get(request)!,
    checkStateFunction: ((request: FastifyRequest, done: (error?: Error) => void) => {
      if (isState(request)) done()
      else done(new InvalidStateError('The state is not the one of this browser'))
    }) as NonNullable<FastifyOAuth2Options['checkStateFunction']>,
  }
}

const build = async (
  app: OAuthAppRow,
  instance: InstanceRow,
  deps: Deps,
): Promise<{ client: OAuthClient; close(): Promise<void> }> => {
  const client = deps.instanceClients.for(instance)
  const stateCookie = cookieName(`oauth-state-${app.slug}`, deps.publicUrl)
  const isState: StateCheck = ({ query, cookies }) => {
    const { state } = query as { state?: string }
    return state !== undefined && state !== '' && cookies[stateCookie] === state
  }
  const options = await pluginOptions(app, instance, deps, { stateCookie, isState })
  // Never listens: it only carries the plugin, which takes one fixed client per instance.
  const carrier = Fastify() as unknown as FastifyInstance & { gitlab: OAuth2Namespace }
  await carrier.register(cookie)
  // Loaded with the first app: a start does not wait for it.
  const { default: oauth2 } = await import('@fastify/oauth2')
  await install(carrier, oauth2, options)
  await carrier.ready()

  const answerOf = (
    exchange: () => Promise<{ token: unknown }>,
    about: AboutCall = {},
  ): Promise<TokenAnswer> => client.guard(() => exchangeOnce(exchange), about)

  const exchangeOnce = async (exchange: () => Promise<{ token: unknown }>): Promise<TokenAnswer> => {
    if (
      !isSchemeAllowed({
        baseUrl: instance.base_url,
        allowPrivateNetwork: instance.allow_private_network,
        caCertificate: null,
      })
    ) {
      return { kind: 'failure', reason: 'address_not_allowed', mayHaveActed: false }
    }
    try {
      return readTokenSet((await exchange()).token)
    } catch (error) {
      if (error instanceof InvalidStateError) return { kind: 'invalid_state' }
      return classifyTokenError(error, classifyTransportError, (headers) =>
        readRetryAfter(headers, deps.clock()),
      )
    }
  }

  return {
    close: () => carrier.close(),
    client: {
      isStateOfBrowser: (request, flow) => isState(requestOfFlow(request, flow)),
      async authorizationUrl(request, reply, { state, flow }) {
        const ofFlow = requestOfFlow(request, flow)
        states.set(ofFlow, state)
        return carrier.gitlab.generateAuthorizationUri(ofFlow, replyOfFlow(reply, flow))
      },
      exchangeCode: (request, reply, flow) =>
        answerOf(() =>
          carrier.gitlab.getAccessTokenFromAuthorizationCodeFlow(
            requestOfFlow(request, flow),
            replyOfFlow(reply, flow),
          ),
        ),
      refresh: (refreshToken, about) =>
        answerOf(
          () =>
            carrier.gitlab.getNewAccessTokenUsingRefreshToken({ refresh_token: refreshToken } as never, {}),
          about,
        ),
    },
  }
}

export const createOAuthClients = (deps: Deps): OAuthClients => {
  const carriers = new LRUCache<string, ReturnType<typeof build>>({
    max: KEPT_CLIENTS,
    dispose: (built) => {
      built.then(({ close }) => close()).catch(() => undefined)
    },
  })
  const nameOf = (appId: string, appVersion: number, instanceVersion: number) =>
    `${appId}:${appVersion}:${instanceVersion}`
  return {
    known: async (appId, appVersion, instanceVersion) =>
      (await carriers.get(nameOf(appId, appVersion, instanceVersion)))?.client,
    async for(app, instance) {
      const key = nameOf(app.id, app.version, instance.version)
      const kept = carriers.get(key)
      if (kept) return (await kept).client
      const built = build(app, instance, deps).catch((error: unknown) => {
        if (error instanceof UnusableAppError)
          return { client: unusableClient(app), close: async () => undefined }
        throw error
      })
      carriers.set(key, built)
      built.catch(() => carriers.delete(key))
      return (await built).client
    },
    async close() {
      const built = [...carriers.values()]
      carriers.clear()
      await Promise.allSettled(built)
    },
  }
}
