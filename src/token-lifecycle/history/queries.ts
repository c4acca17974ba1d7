import { type RawBuilder, sql } from 'kysely'
import type { Database } from '../../db/database.ts'

/** What the database has of a node. */
export type Heartbeat = { nodeId: string; beat: number }

/**
 * Whether the database has counted as far as a node has seen it count: else it went back.
 * @param nodeId placeholder of a parameter, as the other; null = nothing is known yet
 */
export const IS_AS_NEW = (nodeId: string, beat: string): string =>
  `(${nodeId}::uuid is null or coalesce((select beat from heartbeats where node_id = ${nodeId}::uuid), 0) >= ${beat}::bigint)`

/** The same for a statement of Kysely's. */
export const isAsNew = (known: Heartbeat | undefined): RawBuilder<boolean> =>
  known === undefined
    ? sql`true`
    : sql`coalesce((select beat from heartbeats where node_id = ${known.nodeId}::uuid), 0) >= ${known.beat}::bigint`

export type Past = {
  /** What this node counted up to, as the database has it; undefined = the database does not know the node. */
  beat: number | undefined
  /** Of the other nodes that were alive when the last one counted. */
  others: Heartbeat[]
  /** When a node last noticed that the database went back. */
  wentBackAt: Date | undefined
}

export const findPast = async (db: Database, nodeId: string, aliveSeconds: number): Promise<Past> => {
  const heartbeats = await db
    .selectFrom('heartbeats')
    .select(['node_id', 'beat'])
    .where((where) =>
      where.or([
        where('node_id', '=', nodeId),
        where(
          'at',
          '>',
          sql<Date>`(select max(at) from heartbeats) - make_interval(secs => ${aliveSeconds})`,
        ),
      ]),
    )
    .execute()
  const history = await db.selectFrom('database_history').select('went_back_at').executeTakeFirst()
  const all = heartbeats.map(({ node_id, beat }) => ({ nodeId: node_id, beat: Number(beat) }))
  return {
    beat: all.find((heartbeat) => heartbeat.nodeId === nodeId)?.beat,
    others: all.filter((heartbeat) => heartbeat.nodeId !== nodeId),
    wentBackAt: history?.went_back_at,
  }
}

/**
 * @param known what the database had of this node when it was last asked.
 * @returns false when it has something else by now: then nothing is changed.
 */
export const saveBeat = async (
  db: Database,
  { nodeId, beat }: Heartbeat,
  known: number | undefined,
  at: Date,
): Promise<boolean> => {
  if (known === undefined) {
    const { numInsertedOrUpdatedRows } = await db
      .insertInto('heartbeats')
      .values({ node_id: nodeId, beat: String(beat), at })
      .onConflict((conflict) => conflict.column('node_id').doNothing())
      .executeTakeFirstOrThrow()
    return numInsertedOrUpdatedRows === 1n
  }
  const { numUpdatedRows } = await db
    .updateTable('heartbeats')
    .set({ beat: String(beat), at })
    .where('node_id', '=', nodeId)
    .where('beat', '=', String(known))
    .executeTakeFirstOrThrow()
  return numUpdatedRows === 1n
}

export const saveWentBack = async (db: Database, at: Date): Promise<void> => {
  await db
    .insertInto('database_history')
    .values({ id: 1, went_back_at: at })
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ went_back_at: at }))
    .execute()
}

/** Nodes that are gone for good. @returns how many rows went. */
export const deleteHeartbeatsBefore = async (db: Database, time: Date): Promise<number> => {
  const { numDeletedRows } = await db
    .deleteFrom('heartbeats')
    .where('at', '<', time)
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}
