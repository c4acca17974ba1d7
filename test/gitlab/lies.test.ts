import t, { type Test } from 'tap'
import { LIES, type LieName } from '../../simulator/lies.ts'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { ADMIN_KEY, type Answer, type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { lookUp, REFRESH, rowOf } from '../support/lifecycle.ts'
import { authorize, callBack } from '../support/oauth.ts'

/** A GitLab that answers nonsense: simulator/lies.ts has the kinds, and this file the calls that they are told at. */

const LIE_NAMES = Object.keys(LIES) as LieName[]
const SELF = { path: '/api/v4/personal_access_tokens/self', method: 'GET' }
const USER = { path: '/api/v4/user' }
const INFO = { path: '/oauth/token/info' }
const PLACE = { path: /^\/api\/v4\/(groups|projects)\/./ }
const PLACES = { path: /^\/api\/v4\/(groups|projects)$/ }
const REVOKE = { path: '/api/v4/personal_access_tokens/self', method: 'DELETE' }
const REVOKE_OAUTH = { path: '/oauth/revoke' }
const ROTATE = { path: '/api/v4/personal_access_tokens/self/rotate' }
const SCOPES = ['read_api', 'read_user', 'read_repository', 'self_rotate']
/** Lies in which the new token itself is gone, or which are no answer to what was asked. */
const WHOLE_ANSWER: ReadonlySet<LieName> = new Set<LieName>([
  'html',
  'empty',
  'no_content',
  'redirect',
  'teapot',
  'array_for_object',
  'object_for_array',
  'null',
  'text',
  'number',
  'no_members',
  'deep',
  'too_large',
  'cut_json',
  'unprintable_errors',
  'forbidden_nonsense',
  'endless_pause',
])
/** Lies whose words could find their way onto a page. */
const SHOWN = /^(html|unprintable|forbidden|names|paths|scopes|dates|duplicate|prototype)/
/** Of a 429 that names none that can be read. */
const PAUSE_SECONDS = 121
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be in any text
const UNFIT = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]|\p{Cs}/u

const lieAt = ({ simulator }: Stage, match: { path: string | RegExp; method?: string }, lie: LieName) =>
  simulator.faults.add({ match, times: Number.POSITIVE_INFINITY, effect: { kind: 'lie', lie } })

/** Ends a lie. Who was told to pause has paused. */
const tellTheTruth = ({ simulator, clock }: Stage, lie: LieName) => {
  simulator.faults.clear()
  if (lie === 'endless_pause') clock.advance(PAUSE_SECONDS)
}

/** An answer of ours, whatever GitLab said: no internal error, and nothing of GitLab's own at length. */
const isOurs = (t: Test, { status, body, text }: Answer, what: string): void => {
  t.ok(body !== undefined || text === '', `${what}: JSON`)
  t.ok(
    status < 500 || (status === 503 && body?.code === 'gitlab_unavailable'),
    `${what}: ${status} ${text.slice(0, 300)}`,
  )
  t.ok(text.length < 20_000, `${what}: ${text.length} characters`)
  if (status >= 400) t.notMatch(text, /script|toString|\\u0000/, `${what}: nothing of it in a problem`)
}

/** Every list that people and programs read, and the rows below. */
const nothingIsBroken = async (t: Test, { broker }: Stage, what: string): Promise<void> => {
  const { status, body } = await broker.get('/v1/connections?limit=100')
  t.equal(status, 200, `${what}: the list`)
  for (const { user, scopes, expires_at } of body?.items ?? []) {
    t.ok(Number.isSafeInteger(user.id) && user.id > 0, `${what}: ${user.id}`)
    t.ok(expires_at === null || /^\d{4}-/.test(expires_at), `${what}: ${expires_at}`)
    t.ok(scopes.length > 0 && scopes.length <= 100, `${what}: ${scopes.length} scopes`)
  }
  for (const row of await broker.db.selectFrom('connections').selectAll().execute()) {
    t.match(row.gitlab_user_id, /^[1-9]\d*$/, what)
    const texts = [
      row.gitlab_username,
      row.gitlab_name,
      row.status_detail,
      row.failure_detail,
      row.group_path,
      ...row.scopes,
    ]
    for (const text of texts) {
      t.notMatch(text ?? '', UNFIT, what)
      t.ok((text ?? '').length <= 500, `${what}: ${text?.length} characters`)
    }
  }
}

const newToken = ({ simulator }: Stage, wanted: { kind?: 'personal' | 'group'; path?: string } = {}) =>
  simulator.world.createAccessToken({
    kind: 'personal',
    ...(wanted.kind === 'group' ? {} : { username: 'maria' }),
    scopes: SCOPES,
    ...wanted,
  }).token

/** Connects an OAuth pair that was issued beside the browser's way. @returns the connection id. */
const connectPair = async ({ broker, simulator }: Stage, organization: string): Promise<string> => {
  const { accessToken, refreshToken } = issuePair(simulator)
  const answer = await broker.post('/v1/connections/oauth-token', {
    organization,
    base_url: simulator.url,
    access_token: accessToken,
    refresh_token: refreshToken,
    oauth_app: 'simulator',
  })
  return answer.body.id
}

const issuePair = (simulator: Stage['simulator']) =>
  simulator.world.issueOAuthToken({
    username: 'tom',
    clientId: SEEDED_APP.clientId,
    scopes: ['read_api', 'read_user', 'read_repository'],
  })

const paste = (stage: Stage, token: string, more: object = {}) =>
  stage.broker.post('/v1/connections/personal-access-token', {
    organization: 'liars',
    base_url: stage.simulator.url,
    token,
    ...more,
  })

t.test('a lie about a token that somebody enters', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  await connectToken(stage, { organization: 'honest' })
  for (const [call, match] of Object.entries({ SELF, USER, PLACE }))
    for (const lie of LIE_NAMES) {
      const what = `${lie} at ${call}`
      const told = lieAt(stage, match, lie)
      const token = newToken(stage)
      isOurs(t, await broker.post('/v1/tokens/verify', { base_url: simulator.url, token }), what)
      const answer = await paste(stage, token, { group: 'acme' })
      isOurs(t, answer, what)
      t.ok(told.fired() > 0, `${what}: told`)
      if (answer.status === 201) t.equal(answer.body.group, 'acme', `${what}: limited to what was asked for`)
      tellTheTruth(stage, lie)
    }
  await nothingIsBroken(t, stage, 'entered')
})

t.test('a lie about where a group token lives', async (t) => {
  const stage = await setStage(t)
  for (const lie of LIE_NAMES) {
    lieAt(stage, PLACES, lie)
    isOurs(t, await paste(stage, newToken(stage, { kind: 'group', path: 'acme' })), lie)
    tellTheTruth(stage, lie)
  }
  await nothingIsBroken(t, stage, 'group tokens')
})

t.test('a lie about an OAuth token', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  for (const [call, match] of Object.entries({ INFO, USER }))
    for (const lie of LIE_NAMES) {
      const what = `${lie} at ${call}`
      const told = lieAt(stage, match, lie)
      const { accessToken } = issuePair(simulator)
      const pasted = { organization: 'liars', base_url: simulator.url, access_token: accessToken }
      isOurs(t, await broker.post('/v1/connections/oauth-token', pasted), what)
      if (match === INFO) {
        const { callback, cookie } = await authorize(stage, { organization: 'liars' })
        const { answer, status } = await callBack(broker, callback, cookie)
        t.equal(answer.status, 303, `${what}: the browser is sent on`)
        t.ok(status === 'connected' || status === 'failed', what)
      }
      t.ok(told.fired() > 0, `${what}: told`)
      tellTheTruth(stage, lie)
    }
  await nothingIsBroken(t, stage, 'OAuth')
})

t.test('a lie about a connection that works changes nothing about it for good', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  for (const lie of LIE_NAMES) {
    const { id } = await connectToken(stage, {
      organization: `org-${LIE_NAMES.indexOf(lie)}`,
      scopes: SCOPES,
    })
    const { body: leased } = await lookUp(stage, id)
    for (const match of [SELF, USER]) {
      lieAt(stage, match, lie)
      isOurs(t, await broker.post(`/v1/connections/${id}/verify`), lie)
      isOurs(t, await broker.post(`/v1/leases/${leased.lease_id}/rejection`), lie)
      tellTheTruth(stage, lie)
    }
    t.match(await broker.post(`/v1/connections/${id}/verify`), { status: 200, body: { works: true } }, lie)
    t.match(await lookUp(stage, id), { status: 200, body: { token: leased.token } }, lie)
  }
  await nothingIsBroken(t, stage, 'verified')
})

t.test('a lie in answer to a rotation', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const issued = (id: string) => broker.post(`/v1/connections/${id}/rotate`)
  for (const lie of LIE_NAMES) {
    const { id } = await connectToken(stage, {
      organization: `org-${LIE_NAMES.indexOf(lie)}`,
      scopes: SCOPES,
    })
    lieAt(stage, ROTATE, lie)
    const answer = await issued(id)
    isOurs(t, answer, lie)
    tellTheTruth(stage, lie)
    const rotated = simulator.world.events.findLast(({ kind }) => kind === 'rotated')
    if (!WHOLE_ANSWER.has(lie)) {
      t.equal(answer.status, 200, `${lie}: the new token is saved`)
      const { body } = await lookUp(stage, id)
      t.equal(body.token_version, 2, lie)
      t.equal(simulator.world.tokenState(body.token), 'active', lie)
      t.equal(rotated?.generation, 2)
    }
  }
  await nothingIsBroken(t, stage, 'rotated')
})

t.test('a lie in answer to a refresh', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  for (const lie of LIE_NAMES) {
    const id = await connectPair(stage, `org-${LIE_NAMES.indexOf(lie)}`)
    lieAt(stage, REFRESH, lie)
    isOurs(t, await broker.post(`/v1/connections/${id}/refresh`), lie)
    tellTheTruth(stage, lie)
    const { token_version, status } = await rowOf(stage, id)
    if (!WHOLE_ANSWER.has(lie))
      t.same([token_version, status], [2, 'active'], `${lie}: the new token is saved`)
    isOurs(t, await lookUp(stage, id), lie)
  }
  await nothingIsBroken(t, stage, 'refreshed')
})

t.test('a lie when a connection ends does not keep it from ending', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  for (const lie of LIE_NAMES) {
    const { id } = await connectToken(stage, { scopes: SCOPES })
    lieAt(stage, REVOKE, lie)
    isOurs(t, await broker.request('DELETE', `/v1/connections/${id}`), lie)
    tellTheTruth(stage, lie)
    const oauth = await connectPair(stage, 'ending')
    lieAt(stage, REVOKE_OAUTH, lie)
    isOurs(t, await broker.request('DELETE', `/v1/connections/${oauth}`), lie)
    tellTheTruth(stage, lie)
  }
  t.same((await broker.get('/v1/connections')).body.items, [])
})

t.test('a lie is shown on the page as text, or not at all', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const form = { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'same-origin' }
  const submit = (path: string, fields: Record<string, string>, cookie = '') =>
    broker.request('POST', path, {
      key: null,
      rawBody: new URLSearchParams(fields).toString(),
      headers: { ...form, cookie },
    })
  const signedIn = await submit('/connect/sign-in', { access_key: ADMIN_KEY })
  const cookie = signedIn.headers
    .getSetCookie()
    .map((line) => line.split(';')[0])
    .join('; ')
  const isHarmless = (answer: Answer, what: string) => {
    t.ok(answer.status < 500 || answer.status === 503, `${what}: ${answer.status}`)
    t.notMatch(answer.text, /<script>alert|<img src=x|toString|n{1000}/, what)
    t.notMatch(answer.text.replaceAll(/[\t\n\r]/g, ''), UNFIT, what)
  }
  for (const [call, match] of Object.entries({ SELF, USER, PLACE }))
    for (const lie of LIE_NAMES.filter((name) => SHOWN.test(name))) {
      const what = `${lie} at ${call}`
      lieAt(stage, match, lie)
      const entered = { organization: 'acme', base_url: simulator.url, token: newToken(stage), group: 'acme' }
      isHarmless(await submit('/connect/verify?place=token', entered, cookie), what)
      isHarmless(await submit('/connect/token', entered, cookie), what)
      tellTheTruth(stage, lie)
    }
  lieAt(stage, USER, 'names_with_markup')
  t.equal((await paste(stage, newToken(stage), { organization: 'acme' })).status, 201)
  const page = await broker.get('/', { key: null, headers: { cookie } })
  t.equal(page.status, 200)
  isHarmless(page, 'the list')
  t.match(page.text, /&lt;script>alert|&lt;script&gt;alert/, 'the name is there')
})

t.test('a row of before, with an account that is no number, breaks no list', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const { id } = await connectToken(stage)
  await connectToken(stage, { username: 'tom' })
  await broker.db.updateTable('connections').set({ gitlab_user_id: 'x' }).where('id', '=', id).execute()
  const { status, body } = await broker.get('/v1/connections')
  t.equal(status, 200)
  t.equal(body.items.length, 2)
  t.equal(body.items.find((item: { id: string }) => item.id === id).user.id, null)
  t.match(await broker.get(`/v1/connections/${id}`), { status: 200, body: { user: { id: null } } })
})
