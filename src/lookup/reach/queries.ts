import { sql } from 'kysely'
import type { Database } from '../../db/database.ts'
import { WHOLE_RATE } from '../../gitlab/throttle.ts'

/** What is known of whether connections reach projects. In the fragments $1 is the time, where nothing else is said. */

/** What is left, in quarters, to the connections that have less than all of their rate limit. See rate-budgets.ts. */
export type RateBudgets = { ids: string[]; left: number[] }

/** How long GitLab's word counts. No: a person may give access any minute. Yes: a lease that is rejected tells otherwise. */
export const REFUSED_SECONDS = 3_600
export const REACHES_SECONDS = 86_400
/** Whole lists are read once a day. A list that was read no more for this long (another token, the reading switched off) tells nothing. */
export const LISTED_SECONDS = 2 * 86_400

const PROOF = (project: string, condition: string, seconds: number) => `from reach_proofs
    where reach_proofs.connection_id = connections.id and reach_proofs.match_path = ${project}
      and ${condition} and reach_proofs.proven_at > $1::timestamptz - interval '${seconds} seconds'`
/** When GitLab refused it for the project; null = it did not. */
export const REFUSED_AT = (project: string) =>
  `(select reach_proofs.proven_at ${PROOF(project, 'not reach_proofs.reaches', REFUSED_SECONDS)})`
/** Known to reach the project: proven, or among the projects that GitLab lists for the connection. */
export const REACHES = (project: string) =>
  `(exists (select ${PROOF(project, 'reach_proofs.reaches', REACHES_SECONDS)}) or exists (
    select from connection_project_paths as listed
    join connection_syncs as sync on sync.connection_id = listed.connection_id
      and coalesce(sync.full_synced_to, sync.started_at) > $1::timestamptz - interval '${LISTED_SECONDS} seconds'
    where listed.connection_id = connections.id and listed.match_path = ${project}
  ))`

/** Whether GitLab refused any of the connections of these paths for their project. Led by the refusals, which are few. */
export const IS_ANY_REFUSED = (covering: string, condition: string) => `exists (
    select from ${covering}
    join reach_proofs on reach_proofs.match_path = covering.project and not reach_proofs.reaches
      and reach_proofs.proven_at > $1::timestamptz - interval '${REFUSED_SECONDS} seconds'
    join connection_places as place on place.connection_id = reach_proofs.connection_id
      and place.match_path = covering.path and place.instance_id = covering.instance_id
    join connections on connections.id = place.connection_id
    where ${condition}
  )`

/** @param budgets the parameters that hold the ids, and what is left for each */
export const RATE_LEFT = ([ids, left]: [string, string]) =>
  `coalesce((${left}::int[])[array_position(${ids}::uuid[], connections.id)], ${WHOLE_RATE})`

/** Beyond this many the projects that refuse a connection are not listed: any project is looked up. */
const MOST_REFUSALS_LISTED = 50

/** Begins the line of a refusal. No URL has this character, and no place that a directory lists. In order it follows the tab. */
export const REFUSAL = '\u001f'
/** Of a directory ($1 organization, $2 instance): who is refused, and where; without a project for those refused too often. */
export const REFUSALS = `(
        select distinct connection_id, case when refusals > ${MOST_REFUSALS_LISTED} then '' else match_path end as match_path
        from (
          select connection_id, match_path, count(*) over (partition by connection_id) as refusals
          from connections join reach_proofs on connection_id = connections.id and not reaches
          where instance_id = $2::uuid and organization = $1::text and match_path !~ '[[:cntrl:]]'
        ) as proof
      ) as refused`

/** What GitLab has just said of a connection at a project; null = what it said before no longer holds. */
export type Proof = {
  connectionId: string
  project: string
  reaches: boolean | null
  /** Of the token that was asked with: of another one the proof says nothing. */
  tokenVersion: number | undefined
}

/** Of connections that are still there. */
export const saveProofs = async (db: Database, all: Proof[], now: Date): Promise<void> => {
  const proofs = all.filter(({ reaches }) => reaches !== null)
  for (const { connectionId, project } of all.filter(({ reaches }) => reaches === null))
    await db
      .deleteFrom('reach_proofs')
      .where('connection_id', '=', connectionId)
      .where('match_path', '=', project)
      .execute()
  if (proofs.length === 0) return
  await sql`
    insert into reach_proofs (connection_id, match_path, reaches, proven_at)
    select connections.id, proof.match_path, proof.reaches, ${now}::timestamptz
    from unnest(
      ${proofs.map(({ connectionId }) => connectionId)}::uuid[], ${proofs.map(({ project }) => project)}::text[],
      ${proofs.map(({ reaches }) => reaches)}::boolean[],
      ${proofs.map(({ tokenVersion }) => tokenVersion ?? null)}::int[]
    ) as proof (connection_id, match_path, reaches, token_version)
    join connections on connections.id = proof.connection_id
      and connections.token_version = coalesce(proof.token_version, connections.token_version)
    order by connections.id, proof.match_path
    for key share of connections
    on conflict (connection_id, match_path)
      do update set reaches = excluded.reaches, proven_at = excluded.proven_at`.execute(db)
}

/** @returns how many rows went. */
export const deleteProofsBefore = async (
  db: Database,
  { refusedBefore, reachesBefore }: { refusedBefore: Date; reachesBefore: Date },
): Promise<number> => {
  const { numDeletedRows } = await db
    .deleteFrom('reach_proofs')
    .where(({ and, eb, or }) =>
      or([
        eb('proven_at', '<', reachesBefore),
        and([eb('reaches', '=', false), eb('proven_at', '<', refusedBefore)]),
      ]),
    )
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}
