import { pino } from 'pino'
import t from 'tap'
import { shedLoad } from '../../src/http/pressure.ts'
import { createServer } from '../../src/http/server.ts'

t.test(
  'while the process runs late, requests are turned away, and it is still told to be alive',
  async (t) => {
    const app = await createServer({
      logger: pino({ level: 'silent' }),
      trustProxy: false,
      publicUrl: 'http://127.0.0.1:8080',
      allowedHosts: undefined,
    })
    t.teardown(() => app.close())
    await shedLoad(app, 100, 0)
    for (const path of ['/v1/some', '/healthz', '/readyz']) app.get(path, async () => ({ status: 'ok' }))
    const url = await app.listen({ host: '127.0.0.1', port: 0 })
    const get = (path: string) => fetch(url + path, { headers: { connection: 'close' } })

    t.equal((await get('/v1/some')).status, 200, 'just started: nothing is measured yet')
    let refused = await get('/v1/some')
    while (refused.status === 200) {
      const end = performance.now() + 600
      while (performance.now() < end);
      refused = await get('/v1/some')
    }
    t.equal(refused.status, 503)
    t.match(await refused.json(), { code: 'overloaded', status: 503 })
    t.ok(Number(refused.headers.get('retry-after')) >= 1)
    t.equal((await get('/healthz')).status, 200)
    t.equal((await get('/readyz')).status, 200)
    while ((await get('/v1/some')).status !== 200) await new Promise((resolve) => setTimeout(resolve, 50))
    t.pass('it answers again when it runs in time')
  },
)

t.test('0 is never', async (t) => {
  const app = await createServer({
    logger: pino({ level: 'silent' }),
    trustProxy: false,
    publicUrl: 'http://127.0.0.1:8080',
    allowedHosts: undefined,
  })
  await shedLoad(app, 0)
  t.notOk(app.hasDecorator('isUnderPressure'))
  await app.close()
})
