import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { findPrincipal } from '../../src/access-keys/identify.ts'
import type { RunPrepared } from '../../src/db/database.ts'
import { createDirectories } from '../../src/lookup/directories.ts'
import { type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createTestDatabase } from '../support/database.ts'
import { until } from '../support/lifecycle.ts'
import { setListeningStage } from '../support/listening-stage.ts'

const KNOWN = ['lease-by-match']
const LEARNED = ['find-directory', ...KNOWN]
/** The first URL of a host. */
const FIRST = ['find-instances-of-host', ...LEARNED]
const SEARCHED = ['find-best', ...KNOWN]

type Found = Awaited<ReturnType<Awaited<ReturnType<typeof setListeningStage>>['find']>>

/** All of what is wanted and no other statement: `match` would allow more of them. */
const has = (t: Test, found: Found, wanted: Partial<Found>, message = '') => {
  const seen = Object.fromEntries(Object.keys(wanted).map((name) => [name, found[name as keyof Found]]))
  t.strictSame(seen, wanted, message)
}

const addInstance = ({ broker }: Stage, baseUrl: string) =>
  broker.post('/v1/instances', { base_url: baseUrl, allow_private_network: true })

t.test('who gets nothing has the candidates ranked once', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  const ranked = ({ statements }: Found) => statements.filter((name) => name === 'find-candidates').length
  t.equal(ranked(await find('globex/site')), 1, 'nothing covers the URL')
  await stage.broker.db.updateTable('connections').set({ status: 'revoked' }).where('id', '=', id).execute()
  const found = await find('acme/web-shop')
  t.equal(found.code, 'no_connection_for_url')
  t.equal(ranked(found), 1, 'the only one is dead')
})

t.test('below a group that is known no URL is searched for', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  has(t, await find('acme/web-shop'), { id, statements: FIRST })
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
  has(t, await find('acme/platform/deeper/api.git'), { id, statements: KNOWN }, 'asked for or not')
  const scanner = await stage.broker.createKey('scanner', ['acme'])
  has(t, await find('acme/platform', {}, scanner), { id, statements: KNOWN }, 'whoever of it asks')

  t.test('by whoever may not have it either', async (t) => {
    const key = await stage.broker.createKey('scanner', ['globex'])
    has(t, await find('acme/web-shop', { organization: 'globex' }, key), {
      status: 404,
      code: 'no_connection_for_url',
    })
    has(t, await find('acme/web-shop', { organization: 'globex' }), { status: 404 })
  })

  t.test('although something comes elsewhere', async (t) => {
    await connectToken(stage, { username: 'tom', organization: 'globex', group: 'globex' })
    has(t, await find('acme/web-shop'), { id, statements: KNOWN })
  })

  t.test('until a connection comes that fits closer', async (t) => {
    const closer = await connectToken(stage, { username: 'tom', group: 'acme/web-shop' })
    has(t, await find('acme/web-shop'), { id: closer.id, statements: [...KNOWN, ...SEARCHED] })
    has(t, await find('acme/web-shop'), { id: closer.id, statements: LEARNED })
    has(t, await find('acme/platform'), { id, statements: KNOWN })
    t.equal((await stage.broker.request('DELETE', `/v1/connections/${closer.id}`)).status < 300, true)
    has(t, await find('acme/web-shop'), { id, statements: [...KNOWN, ...SEARCHED] })
    has(t, await find('acme/platform'), { id, statements: LEARNED })
  })

  t.test('although one of another organization fits as well, which has a directory of its own', async (t) => {
    has(t, await find('acme/platform'), { id })
    const other = await connectToken(stage, { username: 'tom', organization: 'globex', group: 'acme' })
    has(t, await find('acme/platform', { organization: 'globex' }), { id: other.id, statements: SEARCHED })
    has(t, await find('acme/platform', { organization: 'globex' }), { id: other.id, statements: LEARNED })
    has(t, await find('acme/platform', { organization: 'globex' }), { id: other.id, statements: KNOWN })
    await find('acme/platform')
    has(t, await find('acme/platform'), { id, statements: KNOWN })
  })
})

t.test('of an organization whose connection has no group, until another comes', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage)
  has(t, await find('acme/web-shop'), { id, statements: FIRST })
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
  stage.clock.advance(60)
  const later = await connectToken(stage, { username: 'tom' })
  has(t, await find('acme/web-shop'), { id: later.id }, 'the latest verified of two')
})

t.test('until it moves to another group or organization', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  const move = (to: { group_path?: string; organization?: string }) =>
    stage.broker.db.updateTable('connections').set(to).where('id', '=', id).execute()
  await find('acme/web-shop')
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
  await move({ group_path: 'globex' })
  has(t, await find('acme/web-shop'), { status: 404, code: 'no_connection_for_url' })
  await find('globex/site')
  has(t, await find('globex/site'), { id, statements: KNOWN })
  await move({ group_path: '' })
  has(t, await find('globex/site'), { id, statements: [...KNOWN, ...SEARCHED] })
  has(t, await find('globex/site'), { id, statements: LEARNED })
  await move({ organization: 'initech' })
  has(t, await find('globex/site'), { status: 404, code: 'no_connection_for_url' })
})

t.test('until its instance is known by another name', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  await find('acme/web-shop')
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
  await stage.broker.db
    .updateTable('instances')
    .set({ base_url: 'https://gitlab.example.com' })
    .where('id', '=', stage.instanceId)
    .execute()
  has(t, await find('acme/web-shop'), { status: 404 })
})

t.test('until an instance comes that the URL means', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  await find('acme/platform/api')
  has(t, await find('acme/platform/api'), { id, statements: KNOWN })
  t.equal((await addInstance(stage, `${stage.simulator.url}/acme`)).status, 201)
  // What lies below its path is no place of the instance above: no token is handed out for there.
  has(t, await find('acme/platform/api'), { status: 404, code: 'no_connection_for_url' })
  has(t, await find('acme/platform/api'), { status: 404, code: 'no_connection_for_url' })
  has(t, await find('globex/site'), { status: 404 })
})

t.test('until its token cannot be handed out', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  await find('acme/web-shop')
  const set = (status: 'active' | 'needs_reauthorization') =>
    stage.broker.db.updateTable('connections').set({ status }).where('id', '=', id).execute()
  await set('needs_reauthorization')
  has(t, await find('acme/web-shop'), { status: 404, code: 'no_connection_for_url' })
  await set('active')
  await find('acme/web-shop')
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
})

/** Connections like one that there is, each with a group of its own. */
const addGroups = ({ broker }: Stage, id: string, groups: string[]) =>
  sql`
    insert into connections (
      id, organization, instance_id, method, token_kind, group_path, gitlab_user_id, status, scopes, token_version,
      access_token, token_issued_at, created_at, updated_at
    ) select gen_random_uuid(), organization, instance_id, method, token_kind, group_path_of_new, gitlab_user_id,
      status, scopes, token_version, access_token, token_issued_at, created_at, updated_at
    from connections, unnest(${groups}::text[]) as group_path_of_new where id = ${id}`.execute(broker.db)

const numbered = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => `acme/${from + index}`)

t.test('what changes is searched for until that has cost as much as to read all of it', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  await addGroups(stage, id, numbered(2, 120))
  has(t, await find('acme/web-shop'), { id, statements: FIRST }, 'what is not known is read')
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
  for (const number of [121, 122]) {
    await addGroups(stage, id, numbered(number, number))
    has(t, await find('acme/web-shop'), { id, statements: [...KNOWN, ...SEARCHED] })
    has(t, await find('acme/web-shop'), { id, statements: SEARCHED })
    has(t, await find('acme/web-shop'), { id, statements: SEARCHED })
    has(t, await find('acme/web-shop'), { id, statements: LEARNED })
    has(t, await find('acme/web-shop'), { id, statements: KNOWN })
  }
})

t.test('an organization with very many connections is searched by index', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  await addGroups(stage, id, numbered(2, 10_001))
  has(t, await find('acme/web-shop'), {
    id,
    statements: ['find-instances-of-host', 'find-directory', ...SEARCHED],
  })
  has(t, await find('acme/web-shop'), { id, statements: SEARCHED })
  await stage.broker.db.deleteFrom('connections').where('group_path', '=', 'acme/10001').execute()
  // The first of them tells that it has changed.
  for (let search = 0; search < 200; search += 1)
    has(t, await find('acme/web-shop'), { id, statements: SEARCHED })
  has(t, await find('acme/web-shop'), { id, statements: LEARNED }, 'until it has fewer')
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
})

/** Connections with these groups, and directories that are read when they are asked for the first time. */
const setDirectories = async (t: Test, groups: string[], options: { directoryBytes?: number } = {}) => {
  const database = await createTestDatabase(t)
  const stage = await setStage(t, { broker: { database } })
  const { db } = database
  const { id } = await connectToken(stage)
  await addGroups(stage, id, groups)
  const accessKey = await db.selectFrom('access_keys').select('id').executeTakeFirstOrThrow()
  const principal = (await findPrincipal(db, accessKey.id))!
  let asked = 0
  const runPrepared: RunPrepared = (statement, values) => {
    asked += 1
    return database.runPrepared(statement, values)
  }
  const directories = createDirectories({ runPrepared, ...options })
  const find = async (path: string, { organization = 'acme', project = '' } = {}) => {
    asked = 0
    const reading = { baseUrl: stage.simulator.url, path }
    const place = { instanceId: stage.instanceId, reading, paths: [path], project }
    const match = await directories.find(principal, organization, { version: 0, places: [place] })
    return { connectionId: match?.connectionId, asked }
  }
  return { stage, db, id, find }
}

t.test('each place is found among all others, whatever their order', async (t) => {
  // PostgreSQL orders the last two by their bytes: the other way round than JavaScript.
  const groups = ['a', 'a-b', 'a.b', 'a/b', 'a/b-c', 'a0', 'aa', 'a_b', '-', 'z', 'é', '\uffee', '\u{10000}']
  const { stage, db, id, find } = await setDirectories(t, groups)
  const proven_at = new Date(stage.clock())
  const refusal = { connection_id: id, match_path: 'other/project', reaches: false, proven_at }
  await db.insertInto('reach_proofs').values(refusal).execute()
  const connections = await db.selectFrom('connections').select(['id', 'group_path']).execute()
  t.equal(connections.length, groups.length + 1)
  for (const { id: connectionId, group_path } of connections)
    t.equal((await find(group_path ?? '')).connectionId, connectionId, JSON.stringify(group_path))
  for (const path of ['a!', 'A', 'a/', 'a/b-', 'b', '\uffff', '0'])
    t.equal((await find(path)).connectionId, undefined, path)
  t.equal((await find('', { project: 'other/project' })).connectionId, undefined, 'GitLab refused it there')
  t.equal((await find('', { project: 'other/project2' })).connectionId, id)
})

t.test('where very many connections share a place or are refused, the others are known', async (t) => {
  const { stage, db, id, find } = await setDirectories(t, [...numbered(1, 101), 'own'])
  await sql`
    insert into connection_places (connection_id, instance_id, organization, path, match_path)
    select id, instance_id, organization, 'shared', 'shared' from connections where group_path like 'acme/%'`.execute(
    db,
  )
  await sql`
    insert into reach_proofs (connection_id, match_path, reaches, proven_at)
    select id, 'own/secret', false, ${new Date(stage.clock())} from connections where group_path like 'acme/%'`.execute(
    db,
  )
  t.same(await find('shared'), { connectionId: undefined, asked: 1 })
  t.same(await find('shared'), { connectionId: undefined, asked: 0 })
  t.same(await find('own', { project: 'own/secret' }), { connectionId: undefined, asked: 0 })
  t.match(await find('own', { project: 'own/open' }), { connectionId: String, asked: 0 })
  t.same(await find(''), { connectionId: id, asked: 0 })
})

for (const [refusals, isKnown] of [
  [48, true],
  [50, false],
] as const)
  t.test(
    `an organization with ${201 * refusals} refusals is ${isKnown ? 'known' : 'searched'}`,
    async (t) => {
      const { stage, db, find } = await setDirectories(t, numbered(1, 201))
      await sql`
      insert into reach_proofs (connection_id, match_path, reaches, proven_at)
      select id, id || '/' || number, false, ${new Date(stage.clock())}
      from connections, generate_series(1, ${refusals}::int) as number where group_path like 'acme/%'`.execute(
        db,
      )
      const connectionId = isKnown ? String : undefined
      t.match(await find('acme/7'), { connectionId, asked: 1 })
      t.match(await find('acme/7'), { connectionId, asked: 0 })
    },
  )

t.test('what does not fit into the memory is searched for until that has cost as much', async (t) => {
  const { find } = await setDirectories(t, numbered(1, 120), { directoryBytes: 7_000 })
  t.match(await find('acme/7'), { connectionId: String, asked: 1 })
  t.match(await find('acme/7'), { connectionId: String, asked: 0 })
  for (const organization of ['b', 'c', 'd']) t.equal((await find('b', { organization })).asked, 1)
  for (let search = 0; search < 3; search += 1)
    t.same(await find('acme/7'), { connectionId: undefined, asked: 0 })
  t.match(await find('acme/7'), { connectionId: String, asked: 1 })
})

t.test('what is remembered has a bound, and the organization asked for longest ago goes', async (t) => {
  const { find } = await setDirectories(t, [], { directoryBytes: 2_500 })
  const asked = async (organization: string) => (await find('acme', { organization })).asked
  t.equal(await asked('acme'), 1)
  t.equal(await asked('acme'), 0)
  for (const organization of ['b', 'c', 'd', 'e', 'f', 'g']) t.equal(await asked(organization), 1)
  t.equal(await asked('g'), 0)
  t.equal(await asked('acme'), 1)
})

t.test('two connections of a path are told apart by the database, until one leaves', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id: leaving } = await connectToken(stage, { group: 'acme' })
  stage.clock.advance(60)
  const { id } = await connectToken(stage, { username: 'tom', group: 'acme' })
  await find('acme/web-shop')
  has(t, await find('acme/web-shop'), { id, statements: SEARCHED })
  await stage.broker.db.deleteFrom('connections').where('id', '=', leaving).execute()
  has(t, await find('acme/web-shop'), { id, statements: SEARCHED })
  has(t, await find('acme/web-shop'), { id, statements: LEARNED })
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
})

t.test(
  'a place of several, and a place that was renamed, lead to the connection, until they are gone',
  async (t) => {
    const { stage, find } = await setListeningStage(t)
    const { db } = stage.broker
    const { id } = await connectToken(stage, { group: 'acme' })
    const { organization, instance_id } = await db
      .selectFrom('connections')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirstOrThrow()
    await find('acme/web-shop')
    has(t, await find('globex/site'), { status: 404 })
    const place = { connection_id: id, instance_id, organization, kind: null, gitlab_id: null }
    await db
      .insertInto('connection_places')
      .values([
        { ...place, path: 'globex', match_path: 'globex' },
        { ...place, path: 'acme-old', match_path: 'acme-old', is_former: true },
      ])
      .execute()
    has(t, await find('globex/site'), { id })
    has(t, await find('globex/site'), { id })
    has(t, await find('globex/site'), { id, statements: KNOWN })
    has(t, await find('acme-old/web-shop'), { id, statements: KNOWN })
    await db.deleteFrom('connection_places').where('match_path', '=', 'globex').execute()
    has(t, await find('globex/site'), { status: 404, code: 'no_connection_for_url' })
    await find('acme/web-shop')
    has(t, await find('acme/web-shop'), { id, statements: KNOWN })
  },
)

t.test('an SSH URL is found as any other', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  const url = `git@${new URL(stage.simulator.url).hostname}:acme/web-shop.git`
  await find('', { url })
  has(t, await find('', { url }), { id, statements: KNOWN })
})

t.test('an SSH URL that may be read in two ways on one instance has one connection', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage)
  const base_url = 'https://git.example.com/gitlab'
  await stage.broker.db
    .updateTable('instances')
    .set({ base_url })
    .where('id', '=', stage.instanceId)
    .execute()
  const url = 'git@git.example.com:gitlab/acme/web-shop.git'
  await find('', { url })
  has(t, await find('', { url }), { id, statements: KNOWN })
})

t.test('a connection that is locked leaves what is known of its group', async (t) => {
  const { stage, find, seen } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  const { id: other } = await connectToken(stage, { username: 'tom', group: 'acme/platform' })
  has(t, await find('acme/web-shop'), { id, statements: FIRST })
  const waiting = await stage.broker.db.transaction().execute(async (transaction) => {
    await sql`select from connections where id = ${id} for update`.execute(transaction)
    const asking = find('acme/web-shop')
    await until(() => seen().includes('is-visible'))
    return { asking }
  })
  has(t, await waiting.asking, { id })
  has(t, await find('acme/platform/api'), { id: other, statements: KNOWN })
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
})

t.test('a group that had no connection is learned when it has one', async (t) => {
  const { stage, find } = await setListeningStage(t)
  await connectToken(stage, { group: 'acme/platform' })
  await find('acme/platform/api')
  has(t, await find('acme/web-shop'), { status: 404 })
  const { id } = await connectToken(stage, { username: 'tom', group: 'acme' })
  has(t, await find('acme/web-shop'), { id, statements: SEARCHED })
  has(t, await find('acme/web-shop'), { id, statements: LEARNED })
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
})

t.test('what was counted before a restore from a backup is not taken for what is now', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { db } = stage.broker
  const wide = await connectToken(stage, { group: 'acme' })
  const before = await db.selectFrom('directory_versions').selectAll().execute()
  const lost = await connectToken(stage, { username: 'tom', group: 'acme/platform' })
  await find('acme/web-shop')
  has(t, await find('acme/web-shop'), { id: wide.id, statements: KNOWN })
  await db.deleteFrom('connections').where('id', '=', lost.id).execute()
  await db.deleteFrom('directory_versions').execute()
  await db.insertInto('directory_versions').values(before).execute()
  const closer = await connectToken(stage, { username: 'tom', group: 'acme/web-shop' })
  has(t, await find('acme/web-shop'), { id: closer.id, statements: [...KNOWN, ...SEARCHED] })
})

t.test('a connection that can no longer be served leaves what is known of the others', async (t) => {
  const { stage, find } = await setListeningStage(t)
  const { id } = await connectToken(stage, { group: 'acme' })
  const dead = await connectToken(stage, { username: 'tom', group: 'globex' })
  await addGroups(stage, id, numbered(1, 120))
  has(t, await find('acme/web-shop'), { id, statements: FIRST })
  await stage.broker.db
    .updateTable('connections')
    .set({ status: 'revoked' })
    .where('id', '=', dead.id)
    .execute()
  has(t, await find('globex/site'), { status: 404, code: 'no_connection_for_url' })
  has(t, await find('acme/web-shop'), { id, statements: KNOWN })
})
