import { sql } from 'kysely'
import t, { type Test } from 'tap'
import type { RunPrepared } from '../../src/db/database.ts'
import { createKnownMatches, createSearch } from '../../src/lookup/known-matches.ts'
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

const SEARCHED = ['find-directory-anywhere', 'grant-by-url-anywhere']
const SEARCHED_WITHIN = ['find-directory-within', 'grant-by-url-within']
const KNOWN = ['grant-by-match']

const addInstance = ({ broker }: Stage, baseUrl: string) =>
  broker.post('/v1/instances', { base_url: baseUrl, allow_private_network: true })

t.test('below a group that is known no URL is searched for', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  t.match(await find('acme/web-shop'), { id, statements: SEARCHED })
  t.match(await find('acme/web-shop'), { id, statements: KNOWN })
  t.match(await find('acme/platform/deeper/api.git'), { id, statements: KNOWN }, 'asked for or not')
  const within = { organization: 'acme' }
  t.match(await find('acme/web-shop', within), { id, statements: SEARCHED_WITHIN })
  t.match(await find('acme/platform', within), { id, statements: KNOWN })

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
    t.match(await find('acme/platform'), { id, statements: KNOWN })
    t.equal((await stage.broker.request('DELETE', `/v1/connections/${closer.id}`)).status < 300, true)
    t.match(await find('acme/web-shop'), { id, statements: [...KNOWN, ...SEARCHED] })
    t.match(await find('acme/platform'), { id, statements: KNOWN })
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
  t.match(await find('acme/web-shop', within), { id, statements: SEARCHED_WITHIN })
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
  const ranked = ['grant-by-url-anywhere', 'find-candidates-anywhere', 'grant-by-id']
  t.match(await find('acme/platform/api'), {
    id,
    statements: [...KNOWN, 'find-directory-anywhere', ...ranked],
  })
  t.match(await find('acme/platform/api'), { id, statements: ranked })
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
  t.match(await find('acme/web-shop'), { id, statements: KNOWN })
})

t.test('of a group with very many connections nothing is remembered', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  await sql`
    insert into connections (
      id, organization, instance_id, method, token_kind, group_path, gitlab_user_id, status, scopes, token_version,
      access_token, token_issued_at, created_at, updated_at
    ) select gen_random_uuid(), organization, instance_id, method, token_kind, 'acme/' || number, gitlab_user_id,
      status, scopes, token_version, access_token, token_issued_at, created_at, updated_at
    from connections, generate_series(1, 200) as number`.execute(stage.broker.db)
  t.match(await find('acme/web-shop'), { id, statements: SEARCHED })
  t.match(await find('acme/web-shop'), { id, statements: ['grant-by-url-anywhere'] })
})

t.test('what is remembered has a bound, and the group not asked for longest goes', async (t) => {
  const database = await createTestDatabase(t)
  const stage = await setStage(t, { broker: { database } })
  await connectToken(stage, { group: 'acme' })
  await connectToken(stage, { username: 'tom', group: 'globex' })
  const { clock, broker, simulator } = stage
  const { id: accessKeyId } = await broker.db.selectFrom('access_keys').select('id').executeTakeFirstOrThrow()
  const matches = createKnownMatches({ runPrepared: database.runPrepared, clock, keptCharacters: 700 })
  const search = (group: string) =>
    createSearch({
      accessKeyId,
      organizations: undefined,
      baseUrl: simulator.url,
      groupPaths: [`${group}/project`, group],
    })
  await matches.learn(search('acme'))
  t.ok(matches.find(search('acme')))
  await matches.learn(search('globex'))
  t.ok(matches.find(search('globex')))
  t.equal(matches.find(search('acme')), undefined)
})
