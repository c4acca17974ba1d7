import type { Database } from '../../db/database.ts'

export type Past = {
  /** What this node counted up to, as the database has it; undefined = the database does not know the node. */
  beat: number | undefined
  /** When a node last noticed that the database went back. */
  wentBackAt: Date | undefined
}

export const findPast = async (db: Database, nodeId: string): Promise<Past> => {
  const heartbeat = await db
    .selectFrom('heartbeats')
    .select('beat')
    .where('node_id', '=', nodeId)
    .executeTakeFirst()
  const history = await db.selectFrom('database_history').select('went_back_at').executeTakeFirst()
  return { beat: heartbeat && Number(heartbeat.beat), wentBackAt: history?.went_back_at }
}

export const saveBeat = async (db: Database, nodeId: string, beat: number, at: Date): Promise<void> => {
  await db
    .insertInto('heartbeats')
    .values({ node_id: nodeId, beat: String(beat), at })
    .onConflict((conflict) => conflict.column('node_id').doUpdateSet({ beat: String(beat), at }))
    .execute()
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
