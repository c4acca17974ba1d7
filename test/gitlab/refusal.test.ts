import t from 'tap'
import type { GitLabResult } from '../../src/gitlab/http-client.ts'
import { refusalOf } from '../../src/gitlab/refusal.ts'
import { hasScope, missingScopes } from '../../src/gitlab/scopes.ts'
import { classifyTransportError } from '../../src/gitlab/transport-failure.ts'

const BASE_URL = 'https://gitlab.example.com'

const answer = (status: number, body: unknown, retryAfterSeconds?: number): GitLabResult => ({
  kind: 'answer',
  status,
  body: typeof body === 'string' ? undefined : body,
  text: typeof body === 'string' ? body : JSON.stringify(body),
  retryAfterSeconds,
  headers: {},
})
const EXPIRED = 'Token is expired. You can either do re-authorization or token refresh.'
const REVOKED = 'Token was revoked. You have to re-authorize from the user.'

t.test('what GitLab answers is read by status and body', async (t) => {
  const table: [GitLabResult, string | undefined][] = [
    [answer(200, { id: 1 }), undefined],
    [answer(204, ''), undefined],
    [answer(400, { message: '400 Bad request' }), undefined],
    [answer(404, { message: '404 Group Not Found' }), undefined],
    [answer(401, { message: '401 Unauthorized' }), 'token_unknown'],
    [answer(401, { error: 'invalid_token', error_description: EXPIRED }), 'token_expired'],
    [answer(401, { error: 'invalid_token', error_description: REVOKED }), 'token_revoked'],
    [answer(401, { message: 'DPoP validation error: DPoP header is missing' }), 'dpop_required'],
    [answer(401, 'DPoP validation error: DPoP header is missing'), 'dpop_required'],
    [answer(403, { error: 'insufficient_scope', error_description: 'more' }), 'missing_scopes'],
    [answer(403, { message: '403 Forbidden - Your account has been blocked.' }), 'user_blocked'],
    [answer(200, '<html>Sign in</html>'), 'not_a_gitlab'],
    [answer(401, '<html>401</html>'), 'not_a_gitlab'],
    [answer(404, '<html>404</html>'), 'not_a_gitlab'],
    [answer(301, ''), 'not_a_gitlab'],
    [answer(429, 'Retry later\n', 60), 'gitlab_unavailable'],
    [answer(500, { message: '500 Internal Server Error' }), 'gitlab_unavailable'],
    [answer(502, '<html>Bad gateway</html>'), 'gitlab_unavailable'],
    [answer(503, { message: 'GitLab Maintenance: system is in maintenance mode' }), 'gitlab_unavailable'],
  ]
  for (const [result, code] of table) {
    const refusal = refusalOf(result, BASE_URL)
    t.equal(refusal?.code, code, JSON.stringify(result))
    if (refusal?.code === 'gitlab_unavailable') t.ok(refusal.retryAfterSeconds! >= 1)
  }
  t.equal(refusalOf(answer(429, '', 60), BASE_URL)?.retryAfterSeconds, 60)
})

t.test('what kept an answer from coming is read from the chain of causes', async (t) => {
  const coded = (code: string, more: object = {}) => Object.assign(new Error('FAKE'), { code, ...more })
  const boom = (statusCode: number, data?: unknown) =>
    Object.assign(new Error('Client request error'), { isBoom: true, output: { statusCode }, data })
  const table: [unknown, reason: string, mayHaveActed: boolean][] = [
    [coded('ECONNREFUSED'), 'unreachable', false],
    [boom(502, coded('ENOTFOUND')), 'unreachable', false],
    [coded('ETIMEDOUT', { syscall: 'connect' }), 'unreachable', false],
    [new AggregateError([coded('ECONNREFUSED'), coded('EHOSTUNREACH')]), 'unreachable', false],
    [boom(502, coded('DEPTH_ZERO_SELF_SIGNED_CERT')), 'tls_not_trusted', false],
    [coded('ERR_TLS_CERT_ALTNAME_INVALID'), 'tls_not_trusted', false],
    [coded('CERT_HAS_EXPIRED'), 'tls_not_trusted', false],
    [boom(502, coded('ERR_ADDRESS_NOT_ALLOWED')), 'address_not_allowed', false],
    [boom(504), 'timeout', true],
    [boom(502, coded('ECONNRESET')), 'cut', true],
    [new Error('socket hang up'), 'cut', true],
    [undefined, 'cut', true],
  ]
  for (const [error, reason, mayHaveActed] of table)
    t.match(classifyTransportError(error), { kind: 'failure', reason, mayHaveActed }, reason)
})

t.test('a scope includes what GitLab says it does', async (t) => {
  for (const wanted of ['api', 'read_api', 'read_user', 'read_repository', 'write_repository', 'self_rotate'])
    t.equal(hasScope(['api'], wanted), true, wanted)
  t.equal(hasScope(['read_api'], 'read_user'), true)
  t.equal(hasScope(['write_repository'], 'read_repository'), true)
  t.equal(hasScope(['read_api'], 'api'), false)
  t.equal(hasScope(['read_repository'], 'read_api'), false)
  t.equal(hasScope([], 'read_user'), false)
  t.same(missingScopes(['read_user'], ['read_repository', 'read_user', 'read_api']), [
    'read_repository',
    'read_api',
  ])
})
