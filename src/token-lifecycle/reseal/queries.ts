import { sql } from 'kysely'
import type { Database } from '../../db/database.ts'
import { HEADER_LENGTH, type SealedTable } from '../../vault/reseal.ts'

type Row = { id: string; token_version: number; access_token: string; refresh_token: string | null }

const IS_OTHER = (header: string) => sql`(left(access_token, ${sql.lit(HEADER_LENGTH)}) <> ${header}
  or left(refresh_token, ${sql.lit(HEADER_LENGTH)}) <> ${header})`

/** The stored tokens, for `rotate-keys`. */
export const sealedConnections = (db: Database): SealedTable => ({
  name: 'connections',

  async countByHeader() {
    const { rows } = await sql<{ header: string; count: number }>`
      select left(jwe, ${sql.lit(HEADER_LENGTH)}) as header, count(*)::float8 as count
      from connections cross join lateral unnest(array[access_token, refresh_token]) as jwe
      where jwe is not null
      group by 1
    `.execute(db)
    return rows
  },

  async countOthers(header) {
    const { rows } = await sql<{ count: number }>`
      select count(*)::float8 as count from connections where ${IS_OTHER(header)}`.execute(db)
    return rows[0]?.count ?? 0
  },

  async findOthers(header, after, limit) {
    const { rows } = await sql<Row>`
      select id, token_version, access_token, refresh_token from connections
      where (${after ?? null}::uuid is null or id > ${after ?? null}::uuid)
        and ${IS_OTHER(header)}
      order by id limit ${limit}
    `.execute(db)
    return rows.map(({ id, token_version: version, access_token, refresh_token }) => ({
      id,
      sealed: [
        { jwe: access_token, binding: { ownerId: id, version, use: 'access' } },
        ...(refresh_token === null
          ? []
          : [{ jwe: refresh_token, binding: { ownerId: id, version, use: 'refresh' } as const }]),
      ],
    }))
  },

  // Skips what is locked: a writer of a newer token comes first, and no lookup waits for a batch that waits.
  async save(rows) {
    const { numAffectedRows } = await sql`
      with resealed as (
        select * from unnest(
          ${rows.map(({ id }) => id)}::uuid[],
          ${rows.map(({ before }) => before[0])}::text[], ${rows.map(({ before }) => before[1] ?? null)}::text[],
          ${rows.map(({ after }) => after[0])}::text[], ${rows.map(({ after }) => after[1] ?? null)}::text[]
        ) as resealed (id, access_before, refresh_before, access_after, refresh_after)
      ), unlocked as (
        select connections.id from connections where id = any (${rows.map(({ id }) => id)}::uuid[])
        order by id for no key update skip locked
      )
      update connections set access_token = resealed.access_after, refresh_token = resealed.refresh_after
      from resealed join unlocked using (id)
      where connections.id = resealed.id
        and connections.access_token = resealed.access_before
        and connections.refresh_token is not distinct from resealed.refresh_before
    `.execute(db)
    return Number(numAffectedRows ?? 0)
  },
})
