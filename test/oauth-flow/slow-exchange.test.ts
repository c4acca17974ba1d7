import { once } from 'node:events'
import { get } from 'node:http'
import type { Socket } from 'node:net'
import t from 'tap'
import { setStage } from '../support/broker.ts'
import { lookUp, until } from '../support/lifecycle.ts'
import { authorize, callBack } from '../support/oauth.ts'

const EXCHANGE = { path: '/oauth/token', grantType: 'authorization_code' }

t.test('what GitLab issues late for a code is kept', async (t) => {
  const stage = await setStage(t, { broker: { gitlab: { timeoutMs: 200 } } })
  const { broker, simulator } = stage
  const hold = () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    simulator.faults.add({ match: EXCHANGE, effect: { kind: 'hold-after', until: promise } })
    return resolve
  }
  const issued = () => simulator.world.events.filter(({ kind }) => kind === 'issued').length

  await t.test('past the time that other answers get', async (t) => {
    const { callback, cookie } = await authorize(stage, { username: 'maria' })
    const answer = hold()
    const ending = callBack(broker, callback, cookie)
    await until(() => issued() === 1)
    // Longer than the limit of any other answer.
    await new Promise((resolve) => setTimeout(resolve, 400))
    answer()
    const end = await ending
    t.equal(end.status, 'connected')
    t.equal((await lookUp(stage, end.id!)).status, 200)
  })

  await t.test('also when the browser has left and the broker is told to end', async (t) => {
    const { callback, cookie } = await authorize(stage, { username: 'tom' })
    const answer = hold()
    const connected = once(broker.app.server, 'connection')
    const browser = get(broker.url + callback.pathname + callback.search, {
      agent: false,
      headers: { cookie },
    })
    browser.on('error', () => undefined)
    const [socket] = (await connected) as [Socket]
    await until(() => issued() === 2)
    browser.destroy()
    await once(socket, 'close')
    const closing = broker.close()
    answer()
    await closing
    const rows = await broker.db.selectFrom('connections').select('gitlab_username').execute()
    t.same(rows.map(({ gitlab_username }) => gitlab_username).sort(), ['maria', 'tom'])
  })
})
