/** What stands in front of a GitLab and answers in its place, by name. None of it says anything about a token. */
export type ProxyAnswer = { status: number; body: string; headers: Record<string, string> }

const html = (title: string) =>
  `<!DOCTYPE html>\n<html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>`
const page = (status: number, title: string, headers: Record<string, string> = {}): ProxyAnswer => ({
  status,
  body: html(title),
  headers: { 'content-type': 'text/html', ...headers },
})
const json = (status: number, body: unknown, headers: Record<string, string> = {}): ProxyAnswer => ({
  status,
  body: JSON.stringify(body),
  headers: { 'content-type': 'application/json', ...headers },
})
const text = (status: number, body: string, headers: Record<string, string> = {}): ProxyAnswer => ({
  status,
  body,
  headers: { 'content-type': 'text/plain', ...headers },
})

export const PROXIES = {
  oauth2_proxy: json(401, {}),
  oauth2_proxy_page: page(403, 'Sign in with OpenID Connect'),
  cloudflare_access: text(302, '', {
    location: 'https://acme.cloudflareaccess.com/cdn-cgi/access/login/gitlab.example.com',
  }),
  cloudflare_access_page: page(
    403,
    'Forbidden. You don’t have permission to view this. Please contact your system administrator.',
  ),
  cloudflare_block: page(403, 'Attention Required! | Cloudflare'),
  cloudflare_1020: text(403, 'error code: 1020'),
  session_expired: json(401, { error: 'session expired' }),
  session_expired_text: text(401, 'session expired'),
  envoy_jwt: text(401, 'Jwt is missing'),
  envoy_rbac: text(403, 'RBAC: access denied'),
  kong: json(401, { message: 'Unauthorized' }),
  kong_key: json(401, { message: 'No API key found in request', request_id: 'f4ke' }),
  aws_gateway: json(403, { message: 'Forbidden' }),
  aws_gateway_token: json(401, { message: 'The incoming token has expired' }),
  azure_app_gateway: page(403, '403 Forbidden'),
  azure_apim: json(401, { statusCode: 401, message: 'Access denied due to missing subscription key.' }),
  nginx_401: page(401, '401 Authorization Required', { 'www-authenticate': 'Basic realm="Restricted"' }),
  nginx_403: page(403, '403 Forbidden'),
  apigee: json(401, { fault: { faultstring: 'Invalid access token', detail: { errorcode: 'x' } } }),
  keycloak: json(401, { error: 'invalid_token', error_description: 'Token verification failed' }),
  zscaler: page(403, 'Zscaler: access to this site was denied'),
  login_page: page(200, 'Sign in to your account'),
} satisfies Record<string, ProxyAnswer>

export type ProxyName = keyof typeof PROXIES

export const isProxyName = (name: string): name is ProxyName => Object.hasOwn(PROXIES, name)
