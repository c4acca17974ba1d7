import { sql } from 'kysely'
import type { Database } from '../../db/database.ts'
import { HEADER_LENGTH, type SealedTable } from '../reseal.ts'
import type { SecretUse } from '../vault.ts'

type Column = {
  table: string
  /** The ciphertext; rows where it is null are left out. */
  column: string
  use: SecretUse
  /** The column with the version that the ciphertext is bound to; left out: always 1. */
  versionColumn?: string
}

/** A table with one ciphertext a row, for `rotate-keys`. The room that owns the table asks for it. */
export const sealedColumn = (db: Database, { table, column, use, versionColumn }: Column): SealedTable => {
  const jwe = sql.ref(column)
  const header = sql`left(${jwe}, ${sql.lit(HEADER_LENGTH)})`
  return {
    name: table,

    async countByHeader() {
      const { rows } = await sql<{ header: string; count: number }>`
        select ${header} as header, count(*)::float8 as count
        from ${sql.table(table)} where ${jwe} is not null group by 1
      `.execute(db)
      return rows
    },

    async countOthers(current) {
      const { rows } = await sql<{ count: number }>`
        select count(*)::float8 as count from ${sql.table(table)}
        where ${jwe} is not null and ${header} <> ${current}
      `.execute(db)
      return rows[0]?.count ?? 0
    },

    async findOthers(current, after, limit) {
      const { rows } = await sql<{ id: string; jwe: string; version: number }>`
        select id, ${jwe} as jwe, ${versionColumn === undefined ? sql.lit(1) : sql.ref(versionColumn)} as version
        from ${sql.table(table)}
        where ${jwe} is not null and ${header} <> ${current}
          and (${after ?? null}::uuid is null or id > ${after ?? null}::uuid)
        order by id limit ${limit}
      `.execute(db)
      return rows.map(({ id, jwe, version }) => ({
        id,
        sealed: [{ jwe, binding: { ownerId: id, version, use } }],
      }))
    },

    // The version of the row stays: the secret is the same.
    async save(rows) {
      const { numAffectedRows } = await sql`
        with resealed as (
          select * from unnest(
            ${rows.map(({ id }) => id)}::uuid[], ${rows.map(({ before }) => before[0])}::text[],
            ${rows.map(({ after }) => after[0])}::text[]
          ) as resealed (id, before, after)
        ), unlocked as (
          select id from ${sql.table(table)} where id = any (${rows.map(({ id }) => id)}::uuid[])
          order by id for no key update skip locked
        )
        update ${sql.table(table)} as sealed set ${jwe} = resealed.after
        from resealed join unlocked using (id)
        where sealed.id = resealed.id and sealed.${jwe} = resealed.before
      `.execute(db)
      return Number(numAffectedRows ?? 0)
    },
  }
}
