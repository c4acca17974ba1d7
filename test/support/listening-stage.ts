import type { Test } from 'tap'
import type { PreparedStatement, RunPrepared } from '../../src/db/database.ts'
import { setStage } from './broker.ts'
import { createTestDatabase } from './database.ts'

/** A stage whose broker tells by which statements it found a credential. */
export const setListeningStage = async (t: Test) => {
  const database = await createTestDatabase(t)
  let statements: string[] = []
  let interruption: { name: string; run: () => Promise<unknown> } | undefined
  const runPrepared: RunPrepared = async <Row>(statement: PreparedStatement, values: unknown[]) => {
    statements.push(statement.name)
    const rows = await database.runPrepared<Row>(statement, values)
    if (interruption?.name === statement.name) {
      const { run } = interruption
      interruption = undefined
      await run()
    }
    return rows
  }
  const stage = await setStage(t, { broker: { database: { ...database, runPrepared } } })
  const find = async (path: string, more: Record<string, string> = {}, key?: string) => {
    statements = []
    const query = new URLSearchParams({
      url: `${stage.simulator.url}/${path}`,
      organization: 'acme',
      ...more,
    })
    const { status, body } = await stage.broker.get(`/v1/credentials?${query}`, key ? { key } : {})
    return { status, code: body.code, id: body.connection_id, statements }
  }
  /** What happens once between the next statement of this name and what follows it. */
  const after = (name: string, run: () => Promise<unknown>) => {
    interruption = { name, run }
  }
  return { stage, find, after, seen: () => statements }
}
