import { Agent, get } from 'node:http'
import t from 'tap'
import { ADMIN_KEY, connectByOAuth, setStage } from '../support/broker.ts'

t.test(
  'a request under way is answered at the shutdown, and its connection does not hold it up',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator, clock } = stage
    const id = await connectByOAuth(stage)
    clock.advance(7_000)
    let release = () => {}
    const until = new Promise<void>((resolve) => {
      release = resolve
    })
    const fault = simulator.faults.add({ match: { path: '/oauth/token' }, effect: { kind: 'hold', until } })

    // A client that keeps its connection, as a pool does: it would stay open for longer than a minute.
    const agent = new Agent({ keepAlive: true })
    t.teardown(() => agent.destroy())
    const answered = new Promise<{ status: number | undefined; connection: string | undefined }>(
      (resolve, reject) => {
        const url = `${broker.url}/v1/connections/${id}/credential`
        get(url, { agent, headers: { authorization: `Bearer ${ADMIN_KEY}` } }, (response) => {
          response.resume()
          response.once('end', () =>
            resolve({ status: response.statusCode, connection: response.headers.connection }),
          )
        }).once('error', reject)
      },
    )
    while (fault.fired() === 0) await new Promise((resolve) => setImmediate(resolve))
    const closed = broker.close()
    release()
    t.match(await answered, { status: 200, connection: 'close' })
    await closed
  },
)
