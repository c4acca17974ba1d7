import type pg from 'pg'
import { type Availability, markOnTheWay } from './availability.ts'
import type { PreparedStatement, RunPrepared } from './database.ts'
import type { Pool } from './pool.ts'
import { passesWhenRepeated } from './sqlstate.ts'

/** Statements in flight on one connection. */
const PIPELINE_DEPTH = 2
/** A statement that has taken this long gets no other behind it. */
const SLOW_MS = 5

export type PipelineOptions = {
  availability: Availability
  /** false: behind a pooler the next statement may reach another server process, which knows no statement by name. */
  keepsSessions: boolean
}

/**
 * Sends a statement on a connection whose statement PostgreSQL is still running. PostgreSQL then finds the next one
 * without waiting for us. When the running statement takes long (the disk is slow), another connection is used.
 */
export const createPipelines = (
  pool: Pick<Pool, 'connect'>,
  { availability, keepsSessions }: PipelineOptions,
): RunPrepared => {
  type Pipeline = {
    client: Promise<pg.PoolClient>
    inFlight: number
    startedAt: number
    /**
     * The error of any statement on this connection: the connection may be broken, or have a plan that no longer
     * fits.
     */
    failure?: Error
  }
  const depth = keepsSessions ? PIPELINE_DEPTH : 1
  let last: Pipeline | undefined

  const isJoinable = ({ inFlight, startedAt, failure }: Pipeline): boolean =>
    failure === undefined && inFlight > 0 && inFlight < depth && performance.now() - startedAt < SLOW_MS

  const join = (): Pipeline => {
    if (!last || !isJoinable(last))
      last = { client: pool.connect(), inFlight: 0, startedAt: performance.now() }
    last.inFlight += 1
    return last
  }

  const runOnce = async <Row>({ name, text }: PreparedStatement, values: unknown[]): Promise<Row[]> => {
    const pipeline = join()
    const query = keepsSessions ? { name, text, values } : { text, values }
    try {
      const client = await pipeline.client
      // A callback, because the promises of pg keep every row alive until the next full collection of garbage.
      return await new Promise<Row[]>((resolve, reject) => {
        client.query(query, (error: Error | undefined, result: pg.QueryResult) => {
          if (error) reject(markOnTheWay(error))
          else resolve(result.rows)
        })
      })
    } catch (error) {
      pipeline.failure = error as Error
      throw error
    } finally {
      pipeline.inFlight -= 1
      pipeline.startedAt = performance.now()
      if (pipeline.inFlight === 0)
        pipeline.client.then(
          (client) => client.release(pipeline.failure),
          () => undefined,
        )
    }
  }

  /** Such as with a plan that a migration made stale: the connection is gone with its plans, and nothing was changed. */
  const repeat = <Row>(statement: PreparedStatement, values: unknown[], error: unknown): Promise<Row[]> =>
    passesWhenRepeated(error) ? runOnce<Row>(statement, values) : Promise.reject(error)

  return async <Row>(statement: PreparedStatement, values: unknown[]) => {
    try {
      const rows = await runOnce<Row>(statement, values).catch((error: unknown) =>
        repeat<Row>(statement, values, error),
      )
      availability.worked()
      return rows
    } catch (error) {
      availability.failed(error)
      throw error
    }
  }
}
