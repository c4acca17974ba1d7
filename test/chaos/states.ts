import pg from 'pg'
import { SLICE_SECONDS } from '../../src/weather/queries.ts'
import { WINDOW_SECONDS } from '../../src/weather/refusal-budget.ts'
import type { Scene } from './scene.ts'

/** A connection as the database has it. */
export type ConnectionState = {
  id: string
  grantId: string
  status: string
  statusReason: string | null
  tokenVersion: number
  claimed: boolean
  unansweredSince: Date | null
  refusedSince: Date | null
  failures: number
  failureCode: string | null
  retryAfter: Date | null
}

/** How many refusals count now, at the instance with most of them. */
export const readSpent = async ({ database }: Scene): Promise<number> => {
  const client = new pg.Client({ connectionString: database.writable() })
  await client.connect()
  try {
    const { rows } = await client.query<{ spent: number }>(
      `select coalesce(max(spent), 0)::int as spent from (
        select sum(refusals) as spent from instance_refusals
        where minute > now() - make_interval(secs => $1) group by instance_id
      ) as instance`,
      [WINDOW_SECONDS + SLICE_SECONDS],
    )
    return rows[0]!.spent
  } finally {
    await client.end()
  }
}

/** What stands between a refused connection and its next try, for a report: refusals by ten seconds, and open incidents. */
export const readWeather = async ({ database }: Scene): Promise<string> => {
  const client = new pg.Client({ connectionString: database.writable() })
  await client.connect()
  try {
    const refusals = await client.query(
      `select to_char(minute at time zone 'UTC', 'HH24:MI:SS') as since, refusals from instance_refusals order by minute`,
    )
    const incidents = await client.query(
      `select cause, connections, canary_id, canary_at, told_at from incidents where closed_at is null`,
    )
    return JSON.stringify({ refusals: refusals.rows, incidents: incidents.rows })
  } finally {
    await client.end()
  }
}

export const readStates = async ({ database, subjects }: Scene): Promise<ConnectionState[]> => {
  const client = new pg.Client({ connectionString: database.writable() })
  await client.connect()
  try {
    const { rows } = await client.query<Omit<ConnectionState, 'grantId'>>(
      `select id, status, status_reason as "statusReason", token_version as "tokenVersion",
        attempt_id is not null as claimed, unanswered_since as "unansweredSince",
        refused_since as "refusedSince", failure_count as failures, failure_code as "failureCode",
        retry_after as "retryAfter"
      from connections`,
    )
    const grants = new Map(subjects.map(({ id, grantId }) => [id, grantId]))
    return rows.map((row) => ({ ...row, grantId: grants.get(row.id) ?? '' }))
  } finally {
    await client.end()
  }
}
