import type { LookupFunction } from 'node:net'
import fc from 'fast-check'
import { sql } from 'kysely'
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { MASTER_KEY, startTestBroker } from '../support/broker.ts'

const GITLAB_COM = '01900000-0000-7000-8000-000000000001'
/** A second GitLab on the same host, under a path that could be a group of the first. */
const BELOW = uuidv7()

/** The project that the URL names. */
const ASKED = 'asked'

const connection = fc.record({
  organization: fc.constantFrom('acme', 'acme', 'acme', 'globex'),
  group: fc.constantFrom('', 'a', 'a', 'a', 'a/b', 'x'),
  status: fc.constantFrom('active', 'active', 'active', 'active', 'active', 'revoked'),
  hoursLeft: fc.constantFrom(-1, 5, 5, 5, 5, null),
  instance: fc.constantFrom(GITLAB_COM, GITLAB_COM, GITLAB_COM, GITLAB_COM, GITLAB_COM, BELOW),
  verifiedMinutesAgo: fc.constantFrom(0, 1, 2, null),
  // What GitLab said of it at a project: recently, or too long ago to count.
  proof: fc.option(
    fc.record({
      project: fc.constantFrom(ASKED, ASKED, ASKED, 'a/p', 'a/b'),
      reaches: fc.boolean(),
      minutesAgo: fc.constantFrom(1, 1, 59, 61, 1_439, 1_441),
    }),
    { freq: 2 },
  ),
})

type Row = typeof connection extends fc.Arbitrary<infer Value> ? Value : never

t.test(
  'a lookup by URL takes the connection that explain names as the winner, and none that it does not',
  async (t) => {
    // GitLab itself is not asked: what is known stands in the table.
    const lookup: LookupFunction = (_host, _options, done) => done(new Error('no such host'), '')
    const broker = await startTestBroker(t, { gitlab: { lookup } })
    const vault = createVault(await openKeyRing(broker.db, [MASTER_KEY], broker.clock))
    const now = new Date(broker.clock())

    await sql`
      insert into instances (id, base_url, name, created_at, updated_at)
      values (${BELOW}, 'https://gitlab.com/x', 'below', ${now}, ${now})`.execute(broker.db)
    const create = async (
      organizations: string[],
      restrictions: object = {},
    ): Promise<{ id: string; key: string }> => {
      const body = { name: 'a scanner', role: 'scanner', organizations, restrictions }
      return (await broker.post('/v1/access-keys', body)).body
    }
    const created = [
      await create(['*']),
      await create(['acme', 'globex']),
      await create(['acme', 'globex'], { connections: [uuidv7()] }),
      await create(['*'], { url_prefixes: ['https://gitlab.com/a', 'https://gitlab.com/x/a'] }),
    ]
    const keys = created.map(({ key }) => key)
    /** What the key that is limited to connections may use: every other one. No id comes a second time. */
    const limitToEveryOther = () =>
      sql`
        update access_keys set restricted_connections =
          array(select id from connections where gitlab_user_id::int % 2 = 0)
        where id = ${created[2]!.id}`.execute(broker.db)

    const minutesBefore = (minutes: number) => new Date(now.getTime() - minutes * 60_000)
    const insert = async (
      path: string,
      index: number,
      { organization, group, status, hoursLeft, instance, verifiedMinutesAgo, proof }: Row,
    ) => {
      const id = uuidv7()
      const token = await vault.seal(`glpat-FAKE-${id}`, { ownerId: id, version: 1, use: 'access' })
      const end = hoursLeft === null ? null : new Date(now.getTime() + hoursLeft * 3_600_000)
      const verified = verifiedMinutesAgo === null ? null : minutesBefore(verifiedMinutesAgo)
      await sql`
      insert into connections (
        id, organization, instance_id, method, token_kind, group_path, gitlab_user_id, status, scopes, token_version,
        access_token, token_issued_at, token_expires_at, last_verified_at, created_at, updated_at
      ) values (
        ${id}, ${organization}, ${instance}, 'token', 'personal_access_token', ${group}, ${String(index)}, ${status},
        '{read_repository}', 1, ${token}, ${now}, ${end}, ${verified}, ${now}, ${now}
      )`.execute(broker.db)
      if (proof)
        await sql`
        insert into reach_proofs (connection_id, match_path, reaches, proven_at)
        values (${id}, ${proof.project === ASKED ? path : proof.project}, ${proof.reaches}, ${minutesBefore(proof.minutesAgo)})`.execute(
          broker.db,
        )
    }

    await fc.assert(
      fc.asyncProperty(
        fc.array(connection, { minLength: 2, maxLength: 7, size: 'max' }),
        fc.array(connection, { maxLength: 2 }),
        fc.constantFrom('a/p', 'a/p', 'a/p', 'a/p', 'a/b/p', 'a/b/c/p', 'x/p', 'x/a/p', 'y/p'),
        fc.constantFrom('acme', 'acme', 'acme', 'globex'),
        fc.constantFrom(...keys),
        async (rows, later, path, organization, key) => {
          const query = `url=https://gitlab.com/${path}&organization=${organization}`
          const agrees = async (): Promise<boolean> => {
            const explained = await broker.get(`/v1/credentials/explain?${query}`, { key })
            const found = await broker.get(`/v1/credentials?${query}`, { key })
            const { result, candidates } = explained.body
            switch (result) {
              case 'winner': {
                const winner = candidates.find(({ won }: { won: boolean }) => won)
                return found.status === 200 && found.body.connection_id === winner.connection_id
              }
              default:
                return found.status === 404 && found.body.code === 'no_connection_for_url'
            }
          }
          await broker.db.deleteFrom('connections').execute()
          for (const [index, row] of rows.entries()) await insert(path, index, row)
          await limitToEveryOther()
          // Again, when it may be remembered; and when more has come, the first has left or another is well again.
          if (!(await agrees()) || !(await agrees())) return false
          for (const [index, row] of later.entries()) await insert(path, rows.length + index, row)
          await limitToEveryOther()
          if (!(await agrees())) return false
          await broker.db.deleteFrom('connections').where('gitlab_user_id', '=', '0').execute()
          if (!(await agrees())) return false
          await broker.db.updateTable('connections').set({ status: 'active' }).execute()
          if (!(await agrees())) return false
          // What was known turns into its opposite, then into nothing.
          await sql`update reach_proofs set reaches = not reaches`.execute(broker.db)
          if (!(await agrees())) return false
          await broker.db.deleteFrom('reach_proofs').execute()
          return agrees()
        },
      ),
      { numRuns: 200 },
    )
  },
)
