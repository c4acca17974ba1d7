import { readdir } from 'node:fs/promises'
import { sql } from 'kysely'
import t from 'tap'
import type { Database } from '../../src/db/database.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createEmptyDatabase } from '../support/database.ts'

const MIGRATIONS = new URL('../../migrations/', import.meta.url)

const placesOf = (db: Database, id: string) =>
  db
    .selectFrom('connection_places')
    .select(['organization', 'instance_id', 'kind', 'path', 'match_path', 'is_former'])
    .select(sql<string | null>`gitlab_id::text`.as('gitlab_id'))
    .where('connection_id', '=', id)
    .orderBy('match_path')
    .execute()

t.test('a connection holds the places that it covers', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, instanceId } = stage
  const { db } = broker
  const { id: groupId } = simulator.world.addGroup({ fullPath: 'Initech', members: ['maria'] })
  const { id: projectId } = simulator.world.addProject({ fullPath: 'Initech/Web-Shop', members: ['maria'] })
  const common = { organization: 'acme', instance_id: instanceId, is_former: false }

  await t.test('a group, as GitLab writes it and by its id', async (t) => {
    const { id } = await connectToken(stage, { group: 'initech' })
    t.same(await placesOf(db, id), [
      { ...common, kind: 'group', gitlab_id: String(groupId), path: 'Initech', match_path: 'initech' },
    ])
  })

  await t.test('a project', async (t) => {
    const { id } = await connectToken(stage, { group: 'initech/web-shop' })
    t.same(await placesOf(db, id), [
      {
        ...common,
        kind: 'project',
        gitlab_id: String(projectId),
        path: 'Initech/Web-Shop',
        match_path: 'initech/web-shop',
      },
    ])
  })

  await t.test('the whole instance, which is a row like any other', async (t) => {
    const { id } = await connectToken(stage)
    const whole = { ...common, kind: 'instance', gitlab_id: null, path: '', match_path: '' }
    t.same(await placesOf(db, id), [whole])
    await connectToken(stage)
    t.same(await placesOf(db, id), [whole], 'once, however often it is connected')
    await broker.request('DELETE', `/v1/connections/${id}?revoke=false`)
    t.same(await placesOf(db, id), [], 'and nothing when the connection is gone')
  })
})

const insertConnection = async (db: Database, id: string, kind: string, groupPath: string) => {
  const { rows } = await sql<{ id: string }>`select id from instances limit 1`.execute(db)
  await sql`insert into connections (
      id, organization, instance_id, method, token_kind, group_path, gitlab_user_id, status, scopes, token_version,
      access_token, token_issued_at, created_at, updated_at
    ) values (${id}, 'acme', ${rows[0]?.id}, 'token', ${kind}, ${groupPath}, ${id}, 'active', '{}', 1, 'FAKE', now(),
      now(), now())`.execute(db)
}

t.test('rows of brokers of earlier versions have their places too', async (t) => {
  const database = await createEmptyDatabase(t)
  const { db } = database
  const names = (await readdir(MIGRATIONS)).filter((name) => /^\d{4}_\w+\.ts$/.test(name)).sort()
  const up = async (name: string) =>
    db
      .transaction()
      .execute(async (transaction) => (await import(new URL(name, MIGRATIONS).href)).up(transaction))
  const ID = (number: number) => `01900000-0000-7000-8000-00000000000${number}`
  for (const name of names.filter((name) => name < '0010')) await up(name)
  await sql`insert into instances (id, base_url, name, created_at, updated_at)
    values (gen_random_uuid(), 'https://gitlab.example.com', 'GitLab', now(), now())`.execute(db)
  await insertConnection(db, ID(1), 'personal_access_token', '')
  await insertConnection(db, ID(2), 'personal_access_token', 'acme/shop')
  await insertConnection(db, ID(3), 'group_access_token', 'acme')
  for (const name of names.filter((name) => name >= '0010')) await up(name)

  const rows = async () =>
    (
      await db
        .selectFrom('connection_places')
        .selectAll()
        .orderBy('connection_id')
        .orderBy('match_path')
        .execute()
    ).map(({ kind, path, gitlab_id }) => ({ kind, path, gitlab_id }))
  const before = [
    { kind: 'instance', path: '', gitlab_id: null },
    { kind: null, path: 'acme/shop', gitlab_id: null },
    { kind: 'group', path: 'acme', gitlab_id: null },
  ]
  t.same(await rows(), before, 'by the migration')

  await insertConnection(db, ID(4), 'project_access_token', 'acme/web')
  await insertConnection(db, ID(5), 'personal_access_token', 'acme#another')
  const after = [...before, { kind: 'project', path: 'acme/web', gitlab_id: null }]
  t.same(await rows(), after, 'by the trigger, which leaves out what is no path')

  await sql`update connections set group_path = 'acme/cart', organization = 'globex' where id = ${ID(4)}`.execute(
    db,
  )
  t.match(await placesOf(db, ID(4)), [{ organization: 'globex', path: 'acme/cart' }], 'and follow the row')
})
