import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { connectToken } from '../support/connect.ts'
import { setListeningStage } from '../support/listening-stage.ts'

/** A wide connection and a closer one, of which memory knows nothing: a lookup has to search. */
const setRivals = async (t: Test) => {
  const listening = await setListeningStage(t)
  const { stage } = listening
  const { db } = stage.broker
  const wide = await connectToken(stage, { group: 'acme' })
  await listening.find('acme/web-shop')
  const closer = await connectToken(stage, { username: 'tom', group: 'acme/web-shop' })
  return { ...listening, db, wide, closer }
}

t.test('what happens between a search and its lease', async (t) => {
  const changes: Record<string, (id: string) => ReturnType<typeof sql>> = {
    'the connection moves to another group': (id) =>
      sql`update connections set group_path = 'elsewhere' where id = ${id}`,
    'the connection moves to another organization': (id) =>
      sql`update connections set organization = 'globex' where id = ${id}`,
    'the connection is deleted': (id) => sql`delete from connections where id = ${id}`,
    'a person has to reconnect it': (id) =>
      sql`update connections set status = 'needs_reauthorization' where id = ${id}`,
    'its token ends, and cannot be refreshed': (id) =>
      sql`update connections set token_expires_at = '2001-01-01', token_issued_at = '2000-01-01', refresh_token = null where id = ${id}`,
  }
  for (const [what, change] of Object.entries(changes))
    await t.test(`${what}: the next best is leased`, async (t) => {
      const { db, wide, closer, find, after } = await setRivals(t)
      after('find-best', () => change(closer.id).execute(db))
      const { status, id, statements } = await find('acme/web-shop')
      t.equal(status, 200)
      t.equal(id, wide.id)
      t.equal(statements.filter((name) => name === 'find-best').length, 2)
    })

  await t.test('places change without end: the connection is leased all the same', async (t) => {
    const { db, closer, find, after, seen } = await setRivals(t)
    let changes = 0
    const change = async () => {
      changes += 1
      await sql`
        insert into connection_places (connection_id, instance_id, organization, path, match_path)
        select id, instance_id, organization, ${`other-${changes}`}, ${`other-${changes}`}
        from connections where id = ${closer.id}`.execute(db)
      after('find-best', change)
    }
    after('find-best', change)
    t.match(await find('acme/web-shop'), { status: 200, id: closer.id })
    t.equal(seen().filter((name) => name === 'find-best').length, 3)
  })
})

t.test('while the database may have gone back, nothing is said of what it does not know', async (t) => {
  const { stage, find } = await setListeningStage(t)
  await connectToken(stage, { group: 'acme' })
  t.match(await find('nobody/project'), { status: 404, code: 'no_connection_for_url' })
  stage.broker.history.suspect()
  t.match(await find('nobody/project'), { status: 503, code: 'database_unavailable' })
  t.match(await find('acme/web-shop'), { status: 503, code: 'database_unavailable' })
})
