import t from 'tap'
import { PROXIES } from '../../simulator/proxies.ts'
import { refusedBecause, type UserState } from '../../simulator/user-states.ts'
import { type GitLabAnswer, parseJson, readRetryAfter } from '../../src/gitlab/http-client.ts'
import { isWaitingCode, shownSentence } from '../../src/gitlab/owner-refusal.ts'
import { atKnownGitLab, refusalOf } from '../../src/gitlab/refusal.ts'
import { banSeconds, throttleScope } from '../../src/gitlab/throttle.ts'
import { classifyTransportError } from '../../src/gitlab/transport-failure.ts'
import { classifyTokenError } from '../../src/oauth-apps/token-answer.ts'
import { toFailure } from '../../src/token-lifecycle/refresh-failure.ts'

/** What GitLab answers, what stands in front of it, and the verdict: what follows for a token that is stored. */

const BASE_URL = 'https://gitlab.example.com'

const answer = (status: number, body: unknown, headers: Record<string, string> = {}): GitLabAnswer => {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return {
    kind: 'answer',
    status,
    body: parseJson(text),
    text,
    retryAfterSeconds: undefined,
    headers,
  }
}

type Verdict = 'dead' | 'waits for a person' | 'GitLab did not say' | 'away' | 'about something else'

const DEAD = new Set(['token_unknown', 'token_expired', 'token_revoked'])

const verdictOf = (result: GitLabAnswer, at: 'api' | 'git' = 'api'): [Verdict, string | undefined] => {
  const refusal = refusalOf(result, BASE_URL, at)
  if (!refusal) return ['about something else', undefined]
  const { code } = refusal
  if (DEAD.has(code)) return ['dead', code]
  if (isWaitingCode(code)) return ['waits for a person', code]
  if (code === 'not_a_gitlab') return ['GitLab did not say', code]
  return code === 'gitlab_unavailable' || code === 'address_banned'
    ? ['away', code]
    : ['about something else', code]
}

const error = (error: string, error_description?: string) => ({ error, error_description })
const message = (text: unknown) => ({ message: text })
const EXPIRED = 'Token is expired. You can either do re-authorization or token refresh.'
const REVOKED = 'Token was revoked. You have to re-authorize from the user.'

const GITLAB: [name: string, GitLabAnswer, Verdict, code?: string][] = [
  ['unknown token', answer(401, message('401 Unauthorized')), 'dead', 'token_unknown'],
  ['expired token', answer(401, error('invalid_token', EXPIRED)), 'dead', 'token_expired'],
  ['revoked token', answer(401, error('invalid_token', REVOKED)), 'dead', 'token_revoked'],
  [
    'info, Doorkeeper',
    answer(401, { ...error('invalid_token', 'The access token is invalid'), state: 'unauthorized' }),
    'dead',
    'token_unknown',
  ],
  [
    'info, revoked',
    answer(401, error('invalid_token', 'The access token was revoked')),
    'dead',
    'token_revoked',
  ],
  ['info, expired', answer(401, error('invalid_token', 'The access token expired')), 'dead', 'token_expired'],
  [
    'info, older server',
    answer(401, error('invalid_request', 'The access token is invalid')),
    'dead',
    'token_unknown',
  ],
  [
    'impersonation off',
    answer(401, error('invalid_token', 'Token is an impersonation token but impersonation was disabled.')),
    'dead',
    'token_unknown',
  ],
  [
    'scope',
    answer(403, {
      ...error(
        'insufficient_scope',
        'The request requires higher privileges than provided by the access token.',
      ),
      scope: 'api read_api',
    }),
    'about something else',
    'missing_scopes',
  ],
  [
    'fine-grained token lacks a permission',
    answer(
      403,
      error(
        'insufficient_granular_scope',
        'Access denied: Your Fine-Grained Personal Access Token lacks the required permissions: [read_code].',
      ),
    ),
    'about something else',
    'missing_scopes',
  ],
  [
    'fine-grained tokens enforced',
    answer(
      403,
      message(
        '403 Forbidden - Access denied: Your administrator requires fine-grained personal access tokens.',
      ),
    ),
    'waits for a person',
    'fine_grained_required',
  ],
  [
    'address of the group',
    answer(403, message("403 Forbidden - Your IP address isn't allowed to access this group.")),
    'waits for a person',
    'ip_not_allowed',
  ],
  [
    'single sign-on',
    answer(
      403,
      message(
        "403 Forbidden - Cannot find valid SSO session. Please login via your group's SSO at https://gitlab.example.com/groups/acme/-/saml/sso?token=FAKE-discovery",
      ),
    ),
    'waits for a person',
    'sso_required',
  ],
  [
    'a sentence that nobody knows',
    answer(403, message('403 Forbidden - The moon is full.')),
    'waits for a person',
    'user_refused',
  ],
  ['a right that is missing', answer(403, message('403 Forbidden')), 'about something else'],
  [
    'DPoP',
    answer(401, message('DPoP validation error: DPoP header is missing')),
    'about something else',
    'dpop_required',
  ],
  [
    'kind of token',
    answer(400, message('400 Bad request - This endpoint requires token type to be a personal access token')),
    'about something else',
  ],
  ['a field', answer(400, message({ expires_at: ['is invalid'] })), 'about something else'],
  ['not there', answer(404, message('404 Group Not Found')), 'about something else'],
  ['method', answer(405, message('405 Method Not Allowed')), 'about something else'],
  ['good', answer(200, { id: 1 }), 'about something else'],
  ['a list', answer(200, []), 'about something else'],
  ['throttled', answer(429, 'Retry later\n'), 'away', 'gitlab_unavailable'],
  [
    'throttled by the application',
    answer(429, message('This endpoint has been requested too many times.')),
    'away',
    'gitlab_unavailable',
  ],
  ['address banned', answer(403, 'Forbidden\n', { 'content-type': 'text/plain' }), 'away', 'address_banned'],
  [
    'address banned, other words',
    answer(403, 'Too many failed requests from your IP'),
    'away',
    'address_banned',
  ],
  [
    'maintenance',
    answer(503, message('GitLab Maintenance: system is in maintenance mode')),
    'away',
    'gitlab_unavailable',
  ],
  ['fault', answer(500, message('500 Internal Server Error')), 'away', 'gitlab_unavailable'],
]

const IN_FRONT: [name: string, GitLabAnswer, Verdict, code?: string][] = [
  ...Object.entries(PROXIES).map(([name, { status, body, headers }]): [string, GitLabAnswer, Verdict] => [
    name,
    answer(status, body, headers),
    'GitLab did not say',
  ]),
  ['401 without a body', answer(401, ''), 'GitLab did not say'],
  ['403 without a body', answer(403, ''), 'GitLab did not say'],
  ['401 list', answer(401, []), 'GitLab did not say'],
  [
    'GitLab’s word with another status',
    answer(401, message('403 Forbidden - Your account has been blocked.')),
    'GitLab did not say',
  ],
  ['nearly GitLab’s word', answer(401, message('Unauthorized')), 'GitLab did not say'],
  [
    'expired, in words of a gateway',
    answer(401, error('invalid_token', 'session expired')),
    'GitLab did not say',
  ],
  [
    'revoked, in words of a gateway',
    answer(401, error('invalid_token', 'The token is revoked or invalid')),
    'GitLab did not say',
  ],
  ['invalid_token without words', answer(401, error('invalid_token')), 'GitLab did not say'],
  [
    'nonsense for words',
    answer(401, { error: { a: 1 }, error_description: [], message: 7 }),
    'GitLab did not say',
  ],
  [
    'blocked, in words of a gateway',
    answer(403, message('Your account has been blocked.')),
    'GitLab did not say',
  ],
  ['address, in words of a gateway', answer(403, message('IP address not allowed')), 'GitLab did not say'],
  ['a page for 404', answer(404, '<html>404</html>'), 'GitLab did not say'],
  ['a page for 407', answer(407, '<html>Proxy Authentication Required</html>'), 'GitLab did not say'],
  ['moved', answer(301, ''), 'GitLab did not say'],
  ['bad gateway', answer(502, '<html>Bad gateway</html>'), 'away', 'gitlab_unavailable'],
  ['gateway timeout', answer(504, ''), 'away', 'gitlab_unavailable'],
  ['Cloudflare cannot reach it', answer(521, '<html>521</html>'), 'away', 'gitlab_unavailable'],
]

t.test('GitLab’s own words have a verdict, and those of nobody else', async (t) => {
  for (const [name, result, verdict, code] of [...GITLAB, ...IN_FRONT]) {
    const [found, as] = verdictOf(result)
    t.equal(found, verdict, name)
    if (code !== undefined) t.equal(as, code, name)
  }
  t.ok(GITLAB.length + IN_FRONT.length >= 60, `${GITLAB.length + IN_FRONT.length} answers`)
})

t.test('the seven reasons why GitLab refuses an account are told apart, in its own words', async (t) => {
  const reasons: [Exclude<UserState, 'active'>, string][] = [
    ['internal', 'user_internal'],
    ['blocked_pending_approval', 'user_pending_approval'],
    ['terms_not_accepted', 'user_terms_not_accepted'],
    ['deactivated', 'user_deactivated'],
    ['unconfirmed', 'user_unconfirmed'],
    ['blocked', 'user_blocked'],
    ['password_expired', 'user_password_expired'],
  ]
  for (const [state, code] of reasons) {
    const sentence = refusedBecause({ state, username: 'maria' })!
    const refusal = refusalOf(answer(403, message(`403 Forbidden - ${sentence}`)), BASE_URL)
    t.equal(refusal?.code, code)
    t.ok(refusal?.detail.endsWith(sentence), code)
    t.match(refusalOf(answer(403, sentence), BASE_URL, 'git'), { code }, 'at the Git endpoint too')
  }
})

t.test('the Git endpoint refuses in plain text', async (t) => {
  const sso =
    "Cannot find valid SSO session. Please login via your group's SSO at https://gitlab.example.com/groups/acme/-/saml/sso?token=FAKE-discovery-token"
  const refusal = refusalOf(answer(403, sso), BASE_URL, 'git')
  t.match(refusal, { code: 'sso_required', detail: /groups\/acme\/-\/saml\/sso$/ })
  t.notMatch(refusal?.detail, /FAKE/, 'without the discovery token')
  t.notMatch(refusalOf(answer(403, sso), BASE_URL), { code: 'address_banned' }, 'which is no ban')
  t.match(verdictOf(answer(403, 'RBAC: access denied'), 'git'), ['GitLab did not say'])
  t.match(verdictOf(answer(403, 'Forbidden\n'), 'git'), ['away', 'address_banned'])
})

t.test('a sentence is shown without secrets, markup and links that let somebody in', async (t) => {
  const table: [string, string][] = [
    ['go to https://a.example/x?token=FAKE#y now', 'go to https://a.example/x now'],
    ['<script>alert(1)</script> blocked', 'alert(1) blocked'],
    ['token=FAKE-1 is bad', 'token=[removed] is bad'],
    ['glpat-FAKE-0123456789 is bad', '[removed] is bad'],
    [`${'a1'.repeat(32)} is bad`, '[removed] is bad'],
  ]
  for (const [sentence, shown] of table) t.equal(shownSentence(sentence), shown)
})

t.test('at a known GitLab, what stands in front of it is an outage', async (t) => {
  for (const [name, result] of IN_FRONT) {
    const refusal = atKnownGitLab(refusalOf(result, BASE_URL)!)
    t.equal(refusal.code, 'gitlab_unavailable', name)
    t.ok((refusal.retryAfterSeconds ?? 0) > 0, name)
  }
})

const refusedAt = (status: number, payload: unknown, headers: Record<string, string> = {}) =>
  classifyTokenError(
    Object.assign(new Error('FAKE'), {
      data: { payload, res: { statusCode: status, headers } },
      output: { statusCode: status },
    }),
    classifyTransportError,
    (answered) => readRetryAfter(answered, 0),
  )

t.test('of a refresh only the two engines tell that a refresh token is refused', async (t) => {
  const doorkeeper =
    'The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.'
  const fosite = `The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid. ${doorkeeper}`
  const table: [name: string, ReturnType<typeof refusedAt>, code: string][] = [
    ['Doorkeeper', refusedAt(400, error('invalid_grant', doorkeeper)), 'refresh_token_refused'],
    ['fosite', refusedAt(400, error('invalid_grant', fosite)), 'refresh_token_refused'],
    [
      'Doorkeeper, secret',
      refusedAt(401, error('invalid_client', 'Client authentication failed due to unknown client.')),
      'oauth_app_rejected',
    ],
    [
      'fosite, secret',
      refusedAt(401, error('invalid_client', 'Client authentication failed (e.g., unknown client).')),
      'oauth_app_rejected',
    ],
    ['grant type', refusedAt(400, error('unsupported_grant_type')), 'oauth_app_rejected'],
    [
      'invalid_grant with the status of a gateway',
      refusedAt(403, error('invalid_grant')),
      'gitlab_unavailable',
    ],
    ['another error', refusedAt(401, error('invalid_token', 'session expired')), 'gitlab_unavailable'],
    ['throttled', refusedAt(429, 'Retry later\n'), 'gitlab_unavailable'],
    ['ban', refusedAt(403, Buffer.from('Forbidden\n')), 'gitlab_unavailable'],
    ...Object.entries(PROXIES)
      .filter(([, { status }]) => status >= 300)
      .map(([name, { status, body }]): [string, ReturnType<typeof refusedAt>, string] => [
        name,
        refusedAt(status, parseJson(body) ?? Buffer.from(body)),
        'gitlab_unavailable',
      ]),
  ]
  for (const [name, found, code] of table) {
    if (found.kind === 'issued') t.fail(name)
    else t.equal(toFailure(found).code, code, name)
  }
})

t.test('a limit is one of the account or of our address', async (t) => {
  const named = (name: string) => ({ 'ratelimit-name': name })
  const table: [Record<string, string>, unknown, string][] = [
    [named('throttle_authenticated_api'), undefined, 'account'],
    [named('throttle_authenticated_web'), undefined, 'account'],
    [named('throttle_authenticated_git_http'), undefined, 'account'],
    [named('throttle_unauthenticated_api'), undefined, 'address'],
    [named('throttle_unauthenticated_web'), undefined, 'address'],
    [named('throttle_something_new'), undefined, 'address'],
    [{}, undefined, 'address'],
    [{}, message('This endpoint has been requested too many times. Try again later.'), 'account'],
  ]
  for (const [headers, body, scope] of table) t.equal(throttleScope(headers, body), scope)
})

t.test('a ban lasts from a quarter of an hour to an hour', async (t) => {
  t.equal(banSeconds(undefined, 0), 900)
  t.equal(banSeconds(10, 0), 900)
  t.equal(banSeconds(2_000, 0), 2_000)
  t.equal(banSeconds(undefined, 1), 1_800)
  t.equal(banSeconds(undefined, 9), 3_600)
  t.equal(banSeconds(86_400, 0), 3_600)
})
