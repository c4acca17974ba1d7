import { sql } from 'kysely'
import type { Database } from '../src/db/database.ts'
import type { ServerProcess } from './server-process.ts'
import { measureThroughput, type Scene, type ThroughputTable, targetsOf, warmUp } from './throughput.ts'

/** Lookups by URL without and with a million projects that are known to be reached: the question of who reaches what. */

const PROJECTS_PER_CONNECTION = 10
/** A slow disk takes these within the time that a statement has. */
const AT_ONCE = 4_000
const CONNECTIONS = 32

export type Synced = { projects: number; without: ThroughputTable; with: ThroughputTable }

/** As a reading of projects leaves them; the first of each connection is the one that (d) asks for. */
const seedProjects = async (db: Database, ids: string[]): Promise<number> => {
  for (let from = 0; from < ids.length; from += AT_ONCE)
    await sql`
      with project as (
        select connections.id as connection_id, connections.organization, connections.instance_id,
          gitlab_user_id::bigint * ${PROJECTS_PER_CONNECTION}::int + number as project_id,
          coalesce(nullif(group_path, ''), 'solo-' || gitlab_user_id) || '/repository-' || number as path
        from connections cross join generate_series(0, ${PROJECTS_PER_CONNECTION}::int - 1) as number
        where connections.id = any (${ids.slice(from, from + AT_ONCE)}::uuid[])
      ), known as (
        insert into connection_projects (connection_id, project_id, organization, instance_id, path, match_path, name,
          visibility, archived, default_branch, last_activity_at, size_bytes, seen_run)
        select connection_id, project_id, organization, instance_id, path, lower(path), path, 'private', false, 'main',
          now(), 4096, 1
        from project
      )
      insert into connection_project_paths (connection_id, match_path, project_id)
      select connection_id, lower(path), project_id from project`.execute(db)
  return ids.length * PROJECTS_PER_CONNECTION
}

export const measureSynced = async (
  broker: ServerProcess,
  scene: Scene & Required<Pick<Scene, 'database'>>,
  plan: { rounds: number; seconds: number },
): Promise<Synced> => {
  const { d, m } = targetsOf(broker, scene)
  const measureBoth = () => measureThroughput({ d, m }, { connections: [CONNECTIONS], ...plan })
  await warmUp({ d, m })
  const without = await measureBoth()
  const { db, settle } = scene.database!
  const projects = await seedProjects(db, scene.seeded.ids)
  await settle()
  await warmUp({ d, m })
  return { projects, without, with: await measureBoth() }
}
