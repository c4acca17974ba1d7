/** What a route is limited by, beside the requests of a key. */
export type RouteLimit = 'connect session' | 'flow start' | 'token check' | 'sign-in'

/** By path, whatever the method. */
export const LIMITED_ROUTES: Record<string, RouteLimit> = {
  '/v1/connect-sessions': 'connect session',
  '/oauth/:slug/start': 'flow start',
  '/connect/oauth/:slug': 'flow start',
  '/connect/device/:slug': 'flow start',
  '/v1/tokens/verify': 'token check',
  '/v1/connections/personal-access-token': 'token check',
  '/v1/connections/oauth-token': 'token check',
  '/v1/connections/:id/token': 'token check',
  '/connect/verify': 'token check',
  '/connect/token': 'token check',
  '/connect/oauth-token': 'token check',
  '/connect/connections/:id/replace': 'token check',
  '/connect/sign-in': 'sign-in',
}

/** Which ask nothing of GitLab and change nothing: the form of a page, not what it sends. */
const SHOWS_A_FORM = new Set<RouteLimit>(['sign-in', 'token check'])

export const limitOf = (method: string, path: string): RouteLimit | undefined => {
  const limit = LIMITED_ROUTES[path]
  const isRead = method === 'GET' || method === 'HEAD'
  return limit && isRead && SHOWS_A_FORM.has(limit) ? undefined : limit
}
