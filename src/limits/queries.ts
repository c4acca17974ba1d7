import { sql } from 'kysely'
import type { Database } from '../db/database.ts'

/** Counts one more guess in the window of its source, or begins a window. @returns how many there are in it. */
export const countGuess = async (
  db: Database,
  source: string,
  now: Date,
  endsAt: Date,
): Promise<{ guesses: number; endsAt: Date }> => {
  const row = await db
    .insertInto('guesses')
    .values({ source, guesses: 1, ends_at: endsAt })
    .onConflict((conflict) =>
      conflict.column('source').doUpdateSet({
        guesses: sql`case when guesses.ends_at > ${now} then guesses.guesses + 1 else 1 end`,
        ends_at: sql`case when guesses.ends_at > ${now} then guesses.ends_at else excluded.ends_at end`,
      }),
    )
    .returning(['guesses', 'ends_at'])
    .executeTakeFirstOrThrow()
  return { guesses: row.guesses, endsAt: row.ends_at }
}

export const deleteGuessesBefore = async (db: Database, now: Date): Promise<number> => {
  const { numDeletedRows } = await db.deleteFrom('guesses').where('ends_at', '<=', now).executeTakeFirst()
  return Number(numDeletedRows)
}
