import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { devicePages } from './device.ts'
import { type OAuthApp, redirectUriMatches } from './grants.ts'
import { consentPage, errorPage, redirectPage, signInPage } from './pages.ts'
import type { User } from './people.ts'
import { includesAll, parseScopes } from './scopes.ts'
import type { World } from './world.ts'

const SESSION_COOKIE = '_gitlab_session'
const DEFAULT_SCOPES = ['api']
const MAXIMUM_CHALLENGE_LENGTH = 128
const PASSED_ON = [
  'client_id',
  'redirect_uri',
  'response_type',
  'state',
  'scope',
  'code_challenge',
  'code_challenge_method',
]
const DENIED = 'The resource owner or authorization server denied the request.'

type Parameters = Record<string, string>
type Wanted = {
  app: OAuthApp
  redirectUri: string
  state: string | undefined
  scopes: string[]
  challenge: { value: string; method: 'plain' | 'S256' } | undefined
}

/** What is asked for, or the sentence that GitLab's error page shows. */
const readWanted = (world: World, parameters: Parameters): Wanted | string => {
  const { client_id, redirect_uri, response_type, state, scope, code_challenge, code_challenge_method } =
    parameters
  if (!client_id) return 'Missing required parameter: client_id.'
  const app = world.grants.findApp(client_id)
  if (!app) {
    return 'Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method.'
  }
  if (!redirect_uri || !app.redirectUris.some((registered) => redirectUriMatches(registered, redirect_uri))) {
    return "The requested redirect uri is malformed or doesn't match client redirect URI."
  }
  if (!response_type) return 'Missing required parameter: response_type.'
  if (response_type !== 'code') return 'The authorization server does not support this response type.'
  const scopes = scope ? parseScopes(scope) : DEFAULT_SCOPES.filter((name) => app.scopes.includes(name))
  if (scopes.length === 0 || !includesAll(app.scopes, scopes)) {
    return 'The requested scope is invalid, unknown, or malformed.'
  }
  const wanted = { app, redirectUri: redirect_uri, state, scopes }
  if (!code_challenge) return { ...wanted, challenge: undefined }
  if (code_challenge.length > MAXIMUM_CHALLENGE_LENGTH) return 'The code challenge is too long.'
  if (code_challenge_method !== 'plain' && code_challenge_method !== 'S256') {
    return 'The code_challenge_method must be plain or S256.'
  }
  return { ...wanted, challenge: { value: code_challenge, method: code_challenge_method } }
}

const callbackUrl = ({ redirectUri, state }: Wanted, answer: Record<string, string>): string => {
  const url = new URL(redirectUri)
  for (const [name, value] of Object.entries(answer)) url.searchParams.append(name, value)
  if (state !== undefined) url.searchParams.append('state', state)
  return url.href
}

export const authorizeRoutes = (app: FastifyInstance, world: World, basePath: string): void => {
  const sessions = new Map<string, User>()
  const signedIn = (request: FastifyRequest): User | undefined => {
    const user = sessions.get(request.cookies[SESSION_COOKIE] ?? '')
    return user?.state === 'active' ? user : undefined
  }

  const showSignIn = (reply: FastifyReply, returnTo: string, alert?: string) => {
    const users = [...world.people.users()].filter((user) => !user.bot)
    const action = `${basePath}/users/sign_in`
    return reply.type('text/html').send(signInPage({ action, returnTo, users, ...(alert ? { alert } : {}) }))
  }

  /** Only a path of this GitLab: whoever writes the link must not choose where a person ends up. */
  const ownPath = (path: string | undefined): string =>
    path?.startsWith(`${basePath}/`) && !/^\/[/\\]/.test(path) ? path : `${basePath}/-/simulator`

  const grant = (wanted: Wanted, user: User): string => {
    const { app, redirectUri, scopes, challenge } = wanted
    return callbackUrl(wanted, {
      code: world.grants.createCode({ clientId: app.clientId, user, redirectUri, scopes, challenge }),
    })
  }

  app.get('/oauth/authorize', async (request, reply) => {
    const parameters = request.query as Parameters
    const wanted = readWanted(world, parameters)
    if (typeof wanted === 'string') return reply.type('text/html').send(errorPage(wanted))
    const user = signedIn(request)
    if (!user) return showSignIn(reply, request.url)
    if (wanted.app.trusted || world.grants.holdsLiveToken(user, wanted.app.clientId, wanted.scopes)) {
      return reply.type('text/html').send(redirectPage(grant(wanted, user)))
    }
    return reply.type('text/html').send(
      consentPage({
        app: wanted.app,
        user,
        scopes: wanted.scopes,
        action: `${basePath}/oauth/authorize`,
        signOut: `${basePath}/users/sign_out`,
        returnTo: request.url,
        parameters: Object.fromEntries(
          Object.entries(parameters).filter(([name]) => PASSED_ON.includes(name)),
        ),
      }),
    )
  })

  app.post('/oauth/authorize', async (request, reply) => {
    const parameters = (request.body ?? {}) as Parameters
    const wanted = readWanted(world, parameters)
    if (typeof wanted === 'string') return reply.type('text/html').send(errorPage(wanted))
    const user = signedIn(request)
    if (!user) return showSignIn(reply, `${basePath}/-/simulator`)
    if (parameters._method === 'delete') {
      return reply.redirect(callbackUrl(wanted, { error: 'access_denied', error_description: DENIED }), 302)
    }
    return reply.redirect(grant(wanted, user), 302)
  })

  devicePages(app, world.devices, { basePath, signedIn, showSignIn })
  app.get('/users/sign_in', async (_request, reply) => showSignIn(reply, `${basePath}/-/simulator`))

  app.post('/users/sign_in', async (request, reply) => {
    const { username = '', return_to } = (request.body ?? {}) as Parameters
    const user = world.people.findUser(username)
    if (!user || user.bot) return showSignIn(reply, ownPath(return_to), 'Invalid login or password.')
    if (user.state !== 'active')
      return showSignIn(reply, ownPath(return_to), 'Your account has been blocked.')
    const session = randomBytes(16).toString('hex')
    sessions.set(session, user)
    reply.setCookie(SESSION_COOKIE, session, { path: basePath || '/', httpOnly: true, sameSite: 'lax' })
    return reply.redirect(ownPath(return_to), 302)
  })

  app.post('/users/sign_out', async (request, reply) => {
    sessions.delete(request.cookies[SESSION_COOKIE] ?? '')
    return reply.redirect(ownPath((request.body as Parameters | undefined)?.return_to), 302)
  })
}
