import t from 'tap'
import { connectByOAuth, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

t.test('connections are read', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const oauth = await connectByOAuth(stage)
  const short = await connectToken(stage, { expiresAt: '2026-11-03' })
  const group = await connectToken(stage, { username: 'tom', group: 'acme/platform' })
  const globex = await connectToken(stage, { username: 'tom', organization: 'globex' })
  clock.advance(86_400)
  const list = async (query = '', key?: string) => {
    const answer = await broker.get(`/v1/connections${query}`, key ? { key } : {})
    return answer.body.items?.map(({ id }: { id: string }) => id) ?? answer.body.code
  }
  const all = [oauth, short.id, group.id, globex.id]

  t.test('in the order in which they were made', async (t) => {
    t.same(await list(), all)
  })

  t.test('by organization, status and instance', async (t) => {
    t.same(await list('?organization=globex'), [globex.id])
    t.same(await list('?status=expired'), [short.id])
    t.same(await list('?status=active&organization=acme'), [oauth, group.id])
    t.same(await list('?status=revoked'), [])
    t.same(await list(`?base_url=${encodeURIComponent(`${simulator.url}/api/v4/`)}`), all)
    t.same(await list(`?base_url=${encodeURIComponent(`${simulator.url}/users/sign_in`)}`), all)
    t.same(await list('?base_url=https://gitlab.com'), [])
  })

  t.test('page by page', async (t) => {
    const first = await broker.get('/v1/connections?limit=3')
    t.equal(first.body.items.length, 3)
    const second = await broker.get(`/v1/connections?limit=3&cursor=${first.body.next_cursor}`)
    t.same(
      second.body.items.map(({ id }: { id: string }) => id),
      [globex.id],
    )
    t.equal(second.body.next_cursor, null)
    const exact = await broker.get('/v1/connections?limit=4')
    t.equal(exact.body.next_cursor, null, 'a last page that is full is the last')
  })

  t.test('within the organizations of the key, as if the others did not exist', async (t) => {
    const key = await broker.createKey('manager', ['globex', 'initech'])
    t.same(await list('', key), [globex.id])
    t.same(await list('?organization=initech', key), [])
    t.equal(await list('?organization=acme', key), 'not_found')
    t.equal((await broker.get(`/v1/connections/${globex.id}`, { key })).status, 200)
    const outside = await broker.get(`/v1/connections/${oauth}`, { key })
    const nowhere = await broker.get('/v1/connections/01900000-0000-7000-8000-00000000dead', { key })
    t.equal(outside.status, 404)
    t.same({ ...outside.body, request_id: '' }, { ...nowhere.body, request_id: '' }, 'to the letter')
    const scanner = await broker.createKey('scanner', ['globex'])
    t.equal(await list('', scanner), 'forbidden')
    t.equal((await broker.get(`/v1/connections/${globex.id}`, { key: scanner })).body.code, 'forbidden')
  })

  t.test('without a secret', async (t) => {
    const { text } = await broker.get('/v1/connections')
    const secrets = await broker.db
      .selectFrom('connections')
      .select(['access_token', 'refresh_token'])
      .execute()
    for (const { access_token, refresh_token } of secrets) {
      t.notMatch(text, access_token)
      if (refresh_token) t.notMatch(text, refresh_token)
    }
    for (const { token } of [short, group, globex]) t.notMatch(text, token)
  })
})
