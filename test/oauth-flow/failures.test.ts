import t, { type Test } from 'tap'
import { approve } from '../../simulator/browser.ts'
import type { FaultEffect } from '../../simulator/faults.ts'
import { type Stage, setStage } from '../support/broker.ts'
import { authorize, callBack, createSession, openStart, startOAuth } from '../support/oauth.ts'

const countConnections = async ({ broker }: Stage): Promise<number> =>
  (await broker.db.selectFrom('connections').select('id').execute()).length

/** Nothing of what GitLab may have issued stays. */
const storedNothing = async (t: Test, stage: Stage) => {
  t.equal(await countConnections(stage), 0, 'no connection')
  const grants = await stage.broker.db
    .selectFrom('authorization_requests')
    .select('id')
    .where('grant_jwe', 'is not', null)
    .execute()
  t.same(grants, [], 'no grant')
}

t.test('what GitLab sends the browser back with', async (t) => {
  const stage = await setStage(t)

  t.test('when the person says no, it is access_denied', async (t) => {
    const { callback, cookie } = await authorize(stage, { deny: true })
    const end = await callBack(stage.broker, callback, cookie)
    t.match(end, { page: `${stage.broker.url}/connect`, status: 'failed', code: 'access_denied', id: null })
    await storedNothing(t, stage)
  })

  t.test('another error is authorization_failed, and so is an answer without a code', async (t) => {
    for (const change of [{ error: 'server_error' }, {}]) {
      const { callback, cookie } = await authorize(stage)
      callback.searchParams.delete('code')
      for (const [name, value] of Object.entries(change)) callback.searchParams.set(name, value)
      t.equal((await callBack(stage.broker, callback, cookie)).code, 'authorization_failed')
    }
    await storedNothing(t, stage)
  })
})

t.test('an answer that does not belong to this browser is invalid_state, and spends nothing', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const mine = await authorize(stage)
  const theirs = await authorize(stage, { username: 'tom' })
  const change = (parameter: string, value: string) => {
    const url = new URL(mine.callback)
    url.searchParams.set(parameter, value)
    return url
  }
  const state = mine.callback.searchParams.get('state')!
  const forged = change('state', 'FAKE-state')
  const tampered = change('state', `${state.slice(0, -2)}${state.endsWith('AA') ? 'BB' : 'AA'}`)
  const without = new URL(mine.callback)
  without.searchParams.delete('state')

  t.equal((await callBack(broker, mine.callback, '')).code, 'invalid_state', 'no cookie')
  t.equal((await callBack(broker, mine.callback, theirs.cookie)).code, 'invalid_state', 'other browser')
  t.equal((await callBack(broker, forged, mine.cookie)).code, 'invalid_state', 'forged')
  t.equal((await callBack(broker, tampered, mine.cookie)).code, 'invalid_state', 'tampered')
  t.equal(
    (await callBack(broker, tampered, mine.cookie.replace(state, tampered.searchParams.get('state')!))).code,
    'invalid_state',
    'tampered, with a cookie that agrees',
  )
  t.equal((await callBack(broker, without, mine.cookie)).code, 'invalid_state', 'none')
  await storedNothing(t, stage)
  t.equal((await callBack(broker, mine.callback, mine.cookie)).status, 'connected', 'the true one works')
})

t.test('a code of another browser does not connect its account here', async (t) => {
  const stage = await setStage(t)
  const mine = await authorize(stage)
  const theirs = await authorize(stage, { username: 'tom' })
  mine.callback.searchParams.set('code', theirs.callback.searchParams.get('code')!)
  const end = await callBack(stage.broker, mine.callback, mine.cookie)
  t.equal(end.code, 'code_refused', 'PKCE: the verifier is not the one of that code')
  await storedNothing(t, stage)
})

t.test('a replayed callback changes nothing', async (t) => {
  const stage = await setStage(t)
  const { callback, cookie } = await authorize(stage)
  const first = await callBack(stage.broker, callback, cookie)
  const replay = await callBack(stage.broker, callback, cookie)
  t.equal(first.status, 'connected')
  t.match(replay, { status: 'failed', code: 'callback_replayed' })
  t.equal(await countConnections(stage), 1)
  const { body } = await stage.broker.get(`/v1/connections/${first.id}`)
  t.match(body, { token_version: 1, status: 'active' })
})

t.test('of two callbacks at once one connects', async (t) => {
  const stage = await setStage(t)
  const { callback, cookie } = await authorize(stage)
  const ends = await Promise.all([1, 2, 3].map(() => callBack(stage.broker, callback, cookie)))
  t.same(ends.map(({ code }) => code).sort(), ['callback_replayed', 'callback_replayed', null])
  t.equal(await countConnections(stage), 1)
})

t.test('a used link starts no further flow, nor ends one that was under way', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const session = await createSession(broker)
  const [one, two] = [await startOAuth(broker, session), await startOAuth(broker, session)]
  const [first, second] = await Promise.all([
    approve(one.authorizeUrl, { username: 'maria' }),
    approve(two.authorizeUrl, { username: 'tom' }),
  ])
  t.equal((await callBack(broker, new URL(first), one.cookie)).status, 'connected')
  t.equal((await callBack(broker, new URL(second), two.cookie)).code, 'session_expired')
  t.equal(await countConnections(stage), 1)
  const again = await openStart(broker, session)
  t.equal(again.first.headers.get('location'), `${broker.url}/connect?status=failed&code=session_expired`)
  t.same(again.first.headers.getSetCookie(), [])
})

t.test('an expired or made-up link, or one for tokens only, starts nothing', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const session = await createSession(broker, { expires_in: 60 })
  const tokensOnly = await createSession(broker, { methods: ['token'] })
  const codeOf = async (token: string) =>
    new URL((await openStart(broker, token)).first.headers.get('location')!).searchParams.get('code')
  t.equal(await codeOf(tokensOnly), 'forbidden')
  t.equal(await codeOf('gcs_FAKE'), 'session_expired')
  clock.advance(60)
  t.equal(await codeOf(session), 'session_expired')
  await storedNothing(t, stage)
  t.equal((await broker.db.selectFrom('authorization_requests').select('id').execute()).length, 0)
})

t.test('an authorization is good for ten minutes', async (t) => {
  const stage = await setStage(t)
  const inTime = await authorize(stage)
  const late = await authorize(stage, { username: 'tom' })
  stage.clock.advance(599)
  t.equal((await callBack(stage.broker, inTime.callback, inTime.cookie)).status, 'connected')
  stage.clock.advance(1)
  t.equal((await callBack(stage.broker, late.callback, late.cookie)).code, 'session_expired')
  t.equal(await countConnections(stage), 1)
})

t.test('a link that ends while the person is at GitLab connects nothing', async (t) => {
  const stage = await setStage(t)
  const { callback, cookie } = await authorize(stage, { expires_in: 60 })
  stage.clock.advance(61)
  t.equal((await callBack(stage.broker, callback, cookie)).code, 'session_expired')
  await storedNothing(t, stage)
})

t.test('whatever the token endpoint answers, the browser hears what happened', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const table: [FaultEffect, string][] = [
    [{ kind: 'invalid-grant' }, 'code_refused'],
    [{ kind: 'status', status: 500 }, 'gitlab_unavailable'],
    [{ kind: 'status', status: 502, body: '<html>Bad gateway</html>' }, 'gitlab_unavailable'],
    [{ kind: 'rate-limit', retryAfterSeconds: 30 }, 'gitlab_unavailable'],
    [{ kind: 'cut-before' }, 'gitlab_unavailable'],
    [{ kind: 'cut-after' }, 'gitlab_unavailable'],
    [{ kind: 'html' }, 'not_a_gitlab'],
    [{ kind: 'status', status: 200, body: '{"token_type":"Bearer"}' }, 'not_a_gitlab'],
    [
      { kind: 'status', status: 401, body: '{"error":"invalid_client","error_description":"FAKE"}' },
      'oauth_app_rejected',
    ],
    // Last: a text of 403 is a ban of our address, after which nothing is asked for a while.
    [{ kind: 'status', status: 403, body: 'no' }, 'gitlab_unavailable'],
  ]
  for (const [effect, code] of table) {
    const { callback, cookie } = await authorize(stage)
    simulator.faults.add({ match: { method: 'POST', path: '/oauth/token' }, effect })
    const end = await callBack(broker, callback, cookie)
    t.match(end, { status: 'failed', code, id: null }, JSON.stringify(effect))
    t.equal((await callBack(broker, callback, cookie)).code, 'callback_replayed', 'single use')
    // Past the pause that GitLab asked for in one of them.
    stage.clock.advance(31)
  }
  await storedNothing(t, stage)
})

t.test('a grant that GitLab disowns right after issuing it is not kept', async (t) => {
  const stage = await setStage(t)
  for (const [effect, code] of [
    [{ kind: 'html' }, 'not_a_gitlab'],
    [{ kind: 'status', status: 401, body: '{"error":"invalid_token"}' }, 'not_a_gitlab'],
    [
      { kind: 'status', status: 403, body: '{"message":"403 Forbidden - Your account has been blocked."}' },
      'user_blocked',
    ],
    [{ kind: 'status', status: 403, body: '{"message":"a proxy says no"}' }, 'not_a_gitlab'],
  ] satisfies [FaultEffect, string][]) {
    const { callback, cookie } = await authorize(stage)
    stage.simulator.faults.add({ match: { path: '/oauth/token/info' }, effect })
    t.match(await callBack(stage.broker, callback, cookie), { status: 'failed', code })
    await storedNothing(t, stage)
  }
})

t.test('an unknown OAuth app is 404, at the start and at the callback', async (t) => {
  const { broker } = await setStage(t)
  for (const path of ['start?session=gcs_FAKE', 'callback?code=FAKE&state=FAKE']) {
    const answer = await broker.get(`/oauth/nowhere/${path}`, { key: null })
    t.equal(answer.status, 404)
    t.equal(answer.body.code, 'not_found')
  }
})
