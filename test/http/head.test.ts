import t from 'tap'
import { parse } from 'yaml'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { authorize } from '../support/oauth.ts'

/** What HEAD may ask: pages, health, the description. None of them runs anything that changes. */
const ANSWERED = ['/connect', '/healthz', '/readyz', '/openapi.yaml']

t.test('HEAD changes nothing, whatever the operation', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const { id } = await connectToken(stage)
  const lookup = `url=${encodeURIComponent(`${stage.simulator.url}/acme/web-shop`)}`
  const description = await broker.get('/openapi.yaml', { key: null })
  const { paths } = parse(description.text) as { paths: Record<string, object> }
  t.ok(Object.keys(paths).length > 20)
  const count = async () => {
    const tables = [
      'leases',
      'audit_events',
      'connections',
      'connect_sessions',
      'authorization_requests',
    ] as const
    return Promise.all(tables.map((table) => broker.db.selectFrom(table).selectAll().orderBy('id').execute()))
  }
  const before = await count()

  for (const path of Object.keys(paths)) {
    const url = path.replace('{slug}', 'simulator').replace(/\{\w+\}/g, id)
    for (const target of [url, `${url}?${lookup}`, `${url}/`]) {
      const answer = await broker.request('HEAD', target)
      const expected = ANSWERED.includes(path) ? 200 : 404
      t.equal(answer.status, expected, `HEAD ${target}`)
      t.equal(answer.text, '')
      t.equal(answer.headers.get('set-cookie'), null)
    }
  }
  for (const page of ['/', '/docs']) t.equal((await broker.request('HEAD', page)).status, 200)
  t.same(await count(), before)
})

t.test('HEAD of a callback uses up no code, and of a link no link', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const { callback, cookie } = await authorize(stage)
  const target = callback.pathname + callback.search
  const head = await broker.request('HEAD', target, { key: null, headers: { cookie } })
  t.equal(head.status, 404)
  const end = await broker.get(target, { key: null, headers: { cookie } })
  t.match(end.headers.get('location'), /status=connected/)
})
