import t, { type Test } from 'tap'
import type { RunPrepared } from '../../src/db/database.ts'
import { createKnownMatches, nameMatch } from '../../src/lookup/known-matches.ts'
import { type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createTestDatabase } from '../support/database.ts'

/** A stage whose broker tells by which statements it found a credential. */
const setListeningStage = async (t: Test) => {
  const database = await createTestDatabase(t)
  let statements: string[] = []
  const runPrepared: RunPrepared = (statement, values) => {
    statements.push(statement.name)
    return database.runPrepared(statement, values)
  }
  const stage = await setStage(t, { broker: { database: { ...database, runPrepared } } })
  const find = async (path: string, more: Record<string, string> = {}, key?: string) => {
    statements = []
    const query = new URLSearchParams({ url: `${stage.simulator.url}/${path}`, ...more })
    const { status, body } = await stage.broker.get(`/v1/credentials?${query}`, key ? { key } : {})
    return { status, code: body.code, id: body.connection_id, statements }
  }
  return { stage, find }
}

const SEARCHED = ['grant-by-url-anywhere']
const KNOWN = ['grant-by-match']

const addInstance = ({ broker }: Stage, baseUrl: string) =>
  broker.post('/v1/instances', { base_url: baseUrl, allow_private_network: true })

t.test('a URL that was looked up is not searched for again', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  t.match(await find('acme/web-shop'), { id, statements: SEARCHED })
  t.match(await find('acme/web-shop'), { id, statements: KNOWN })
  t.match(await find('acme/web-shop', { organization: 'acme' }), {
    id,
    statements: ['grant-by-url-within'],
  })
  t.match(await find('acme/web-shop', { organization: 'acme' }), { id, statements: KNOWN })

  t.test('by whoever may not have it either', async (t) => {
    const key = await stage.broker.createKey('scanner', ['globex'])
    t.match(await find('acme/web-shop', {}, key), { status: 404, code: 'no_connection_for_url' })
    t.match(await find('acme/web-shop', { organization: 'globex' }), { status: 404 })
  })

  t.test('although something comes elsewhere', async (t) => {
    await connectToken(stage, { username: 'tom', organization: 'globex', group: 'globex' })
    t.match(await find('acme/web-shop'), { id, statements: KNOWN })
  })

  t.test('until a connection comes that fits closer', async (t) => {
    const closer = await connectToken(stage, { username: 'tom', group: 'acme/web-shop' })
    t.match(await find('acme/web-shop'), { id: closer.id, statements: [...KNOWN, ...SEARCHED] })
    t.match(await find('acme/web-shop'), { id: closer.id, statements: KNOWN })
    t.equal((await stage.broker.request('DELETE', `/v1/connections/${closer.id}`)).status < 300, true)
    t.match(await find('acme/web-shop'), { id })
  })

  t.test('until one of another organization fits as well', async (t) => {
    t.match(await find('acme/platform'), { id })
    t.match(await find('acme/platform'), { id, statements: KNOWN })
    await connectToken(stage, { username: 'tom', organization: 'globex', group: 'acme' })
    t.match(await find('acme/platform'), { status: 409, code: 'ambiguous_connection' })
  })
})

t.test('of an organization whose connection has no group, until another comes', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage)
  const within = { organization: 'acme' }
  t.match(await find('acme/web-shop', within), { id, statements: ['grant-by-url-within'] })
  t.match(await find('acme/web-shop', within), { id, statements: KNOWN })
  stage.clock.advance(60)
  const later = await connectToken(stage, { username: 'tom' })
  t.match(await find('acme/web-shop', within), { id: later.id }, 'the latest verified of two')
})

t.test('until its instance is known by another name', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  await find('acme/web-shop')
  t.match(await find('acme/web-shop'), { id, statements: KNOWN })
  await stage.broker.db
    .updateTable('instances')
    .set({ base_url: 'https://gitlab.example.com' })
    .where('id', '=', stage.instanceId)
    .execute()
  t.match(await find('acme/web-shop'), { status: 404 })
})

t.test('until an instance comes that the URL could mean as well', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  await find('acme/platform/api')
  t.match(await find('acme/platform/api'), { id, statements: KNOWN })
  t.equal((await addInstance(stage, `${stage.simulator.url}/acme`)).status, 201)
  t.match(await find('acme/platform/api'), {
    id,
    statements: [...KNOWN, ...SEARCHED, 'find-candidates-anywhere'],
  })
})

t.test('until its token cannot be handed out', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  await find('acme/web-shop')
  const set = (status: 'active' | 'needs_reauthorization') =>
    stage.broker.db.updateTable('connections').set({ status }).where('id', '=', id).execute()
  await set('needs_reauthorization')
  t.match(await find('acme/web-shop'), { status: 404, code: 'no_connection_for_url' })
  await set('active')
  t.match(await find('acme/web-shop'), { id, statements: SEARCHED })
})

t.test('what is remembered has a bound', (t) => {
  const matches = createKnownMatches()
  const match = { connectionId: 'id', baseUrl: 'https://gitlab.com', scopes: ['acme'], version: 1 }
  const name = (number: number) =>
    nameMatch('key', undefined, `https://gitlab.com/${number}`.padEnd(2000, '/'))
  for (let number = 0; number < 5_000; number += 1) matches.set(name(number), match)
  t.equal(matches.get(name(0)), undefined, 'the oldest is forgotten')
  t.equal(matches.get(name(4_999)), match)
  t.end()
})
