import { type Kysely, sql } from 'kysely'
import t from 'tap'
import { up as createSchema } from '../../migrations/0001_initial.ts'
import { up as addAudit } from '../../migrations/0009_audit.ts'
import { createEmptyDatabase } from '../support/database.ts'

t.test('what was recorded before the chain was begun is sealed as well', async (t) => {
  const { db } = await createEmptyDatabase(t)
  await createSchema(db as Kysely<unknown>)
  const id = '01900000-0000-7000-8000-0000000000aa'
  await sql`insert into audit_events (id, at, action) values (${id}::uuid, now(), 'instance.created')`.execute(
    db,
  )
  await addAudit(db as Kysely<unknown>)
  t.match(await db.selectFrom('audit_unsealed').selectAll().execute(), [{ event_id: id }])
  t.match(await db.selectFrom('audit_events').selectAll().execute(), [
    { id, outcome: 'success', address: null, token_hash: null },
  ])
})
