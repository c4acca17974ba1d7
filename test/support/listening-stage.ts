import type { Test } from 'tap'
import type { RunPrepared } from '../../src/db/database.ts'
import { setStage } from './broker.ts'
import { createTestDatabase } from './database.ts'

/** A stage whose broker tells by which statements it found a credential. */
export const setListeningStage = async (t: Test) => {
  const database = await createTestDatabase(t)
  let statements: string[] = []
  const runPrepared: RunPrepared = (statement, values) => {
    statements.push(statement.name)
    return database.runPrepared(statement, values)
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
  return { stage, find, seen: () => statements }
}
