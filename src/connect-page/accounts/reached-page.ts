import { addSeconds, type Clock } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import type { ConnectionSyncRow } from '../../db/tables.ts'
import { listProjects, type ProjectRow } from '../../projects/queries.ts'
import { findSync } from '../../projects/sync/queries.ts'
import type { Syncs } from '../../projects/sync/syncs.ts'
import type { Texts } from '../texts.en.ts'
import { type ShownTime, showTime } from '../times.ts'
import type { ConnectionCard } from './connection-card.ts'

/** A page of what an account reaches, as it is shown. */
export type ReachedPage = {
  counts: string | undefined
  asOf: ShownTime | undefined
  /** How the reading is, and why it waits. */
  state: string | undefined
  problem: string | undefined
  isRunning: boolean
  /** false: whoever runs the service has switched the reading off. */
  isOn: boolean
  /** The page asks for itself this often while a reading is under way or about to begin; undefined = nothing changes soon. */
  pollSeconds: number | undefined
  search: string | undefined
  projects: {
    path: string
    href: string
    isArchived: boolean
    isMissing: boolean
    activity: ShownTime | undefined
  }[]
  /** The id after which the list goes on; undefined = the list ends here. */
  next: string | undefined
  isFirst: boolean
  /** The query of this very page. */
  query: Record<string, string>
}

type Deps = { db: Database; clock: Clock; texts: Texts; syncs: Pick<Syncs, 'isOn'> }

const PAGE_SIZE = 50
const POLL_SECONDS = 3
/** While a reading has not begun, or waits for GitLab. */
const WAITING_POLL_SECONDS = 15
/** Nobody looks at the page for longer than this, to see a reading begin. */
const SOON_SECONDS = 600

const stateOf = (row: ConnectionSyncRow | undefined, now: Date, texts: Texts): string | undefined => {
  const { projects: t } = texts
  if (!row || (row.state === 'waiting' && row.started_at === null && row.error_code === null)) return t.never
  if (row.state === 'running') return t.running(row.projects)
  if (row.state === 'not_permitted') return t.notPermitted
  const isLater = row.due_at > addSeconds(now, 1)
  return row.state === 'waiting' && isLater ? t.waiting(showTime(row.due_at, now, texts).relative) : undefined
}

const pollSecondsOf = (row: ConnectionSyncRow | undefined, now: Date): number | undefined => {
  if (row?.state === 'running') return POLL_SECONDS
  const isSoon = row?.state === 'waiting' && row.due_at <= addSeconds(now, SOON_SECONDS)
  return isSoon ? WAITING_POLL_SECONDS : undefined
}

export const describeReached = async (
  { db, clock, texts, syncs: { isOn } }: Deps,
  { id, organization }: Pick<ConnectionCard, 'id' | 'organization'>,
  { search, after }: { search: string | undefined; after: string | undefined },
): Promise<ReachedPage> => {
  const now = new Date(clock())
  const row = await findSync(db, id)
  const rows = await listProjects(db, {
    connectionId: id,
    organization,
    search,
    archived: undefined,
    pushedAfter: undefined,
    missing: undefined,
    after,
    limit: PAGE_SIZE + 1,
  })
  const show = (project: ProjectRow) => ({
    path: project.path,
    href: `${project.base_url}/${project.path}`,
    isArchived: project.archived,
    isMissing: project.missing_since !== null,
    activity: project.last_activity_at ? showTime(project.last_activity_at, now, texts) : undefined,
  })
  return {
    counts:
      row?.reached_projects == null
        ? undefined
        : texts.projects.counts(row.reached_projects, row.reached_groups ?? 0),
    asOf: row?.synced_to ? showTime(row.synced_to, now, texts) : undefined,
    state: isOn ? stateOf(row, now, texts) : texts.projects.off,
    problem: isOn && row?.state === 'waiting' ? (row.error_detail ?? undefined) : undefined,
    isRunning: row?.state === 'running',
    isOn,
    pollSeconds: isOn ? pollSecondsOf(row, now) : undefined,
    search,
    projects: rows.slice(0, PAGE_SIZE).map(show),
    next: rows.length > PAGE_SIZE ? rows[PAGE_SIZE - 1]?.id : undefined,
    isFirst: after === undefined,
    query: { ...(search ? { search } : {}), ...(after === undefined ? {} : { after }) },
  }
}
