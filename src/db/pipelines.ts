import type pg from 'pg'
import type { PreparedStatement, RunPrepared } from './database.ts'

/** Statements in flight on one connection. */
const PIPELINE_DEPTH = 2
/** A statement that has taken this long gets no other behind it. */
const SLOW_MS = 5

/**
 * Sends a statement on a connection whose statement PostgreSQL is still running. PostgreSQL then finds the next one
 * without waiting for us. When the running statement takes long (the disk is slow), another connection is used.
 */
export const createPipelines = (pool: pg.Pool): RunPrepared => {
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
  let last: Pipeline | undefined

  const isJoinable = ({ inFlight, startedAt, failure }: Pipeline): boolean =>
    failure === undefined &&
    inFlight > 0 &&
    inFlight < PIPELINE_DEPTH &&
    performance.now() - startedAt < SLOW_MS

  const join = (): Pipeline => {
    if (!last || !isJoinable(last))
      last = { client: pool.connect(), inFlight: 0, startedAt: performance.now() }
    last.inFlight += 1
    return last
  }

  return async <Row>({ name, text }: PreparedStatement, values: unknown[]) => {
    const pipeline = join()
    try {
      const client = await pipeline.client
      // A callback, because the promises of pg keep every row alive until the next full collection of garbage.
      return await new Promise<Row[]>((resolve, reject) => {
        client.query({ name, text, values }, (error: Error | undefined, result: pg.QueryResult) => {
          if (error) reject(error)
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
}
