import t from 'tap'
import { approve } from '../../simulator/browser.ts'
import { setStage } from '../support/broker.ts'
import { callBack, createSession, startOAuth } from '../support/oauth.ts'

t.test('a link connects once, however many authorizations it began end at the same moment', async (t) => {
  const { broker, simulator } = await setStage(t)
  const session = await createSession(broker)
  const people = ['maria', 'tom']
  const started = await Promise.all(
    people.map(async (username) => {
      const { authorizeUrl, cookie } = await startOAuth(broker, session)
      return { callback: new URL(await approve(authorizeUrl, { username })), cookie }
    }),
  )
  // Both have their tokens before either is asked whose they are.
  const { promise: everyoneHasTokens, resolve: release } = Promise.withResolvers<void>()
  simulator.faults.add({
    match: { path: '/oauth/token/info' },
    times: people.length,
    effect: { kind: 'hold', until: everyoneHasTokens },
  })
  const ends = started.map(({ callback, cookie }) => callBack(broker, callback, cookie))
  while (simulator.requests.count({ path: '/oauth/token/info' }) < people.length) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  release()

  t.same((await Promise.all(ends)).map(({ status, code }) => [status, code]).sort(), [
    ['connected', null],
    ['failed', 'session_expired'],
  ])
  t.equal((await broker.get('/v1/connections')).body.items.length, 1)
  const left = await broker.db.selectFrom('authorization_requests').select('grant_jwe').execute()
  t.same(left, [{ grant_jwe: null }, { grant_jwe: null }], 'and what is of no use is not kept')
})
