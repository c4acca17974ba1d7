import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { TourError } from './expect.ts'

export type OwnDatabase = { url: string; name: string; drop(): Promise<void> }

const withClient = async (url: string, statement: string): Promise<void> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}

/** A database of the demo's own on the server of DATABASE_URL, so that nothing there is touched. */
export const createOwnDatabase = async (serverUrl: string): Promise<OwnDatabase> => {
  const name = `gtb_demo_${randomBytes(4).toString('hex')}`
  try {
    await withClient(serverUrl, `create database ${name}`)
  } catch (error) {
    throw new TourError(
      `DATABASE_URL: the demo makes a database of its own there, which failed (${(error as Error).message}). Its user needs the right to create one: alter role ... createdb`,
    )
  }
  return {
    name,
    url: Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href,
    drop: () => withClient(serverUrl, `drop database if exists ${name} with (force)`),
  }
}
