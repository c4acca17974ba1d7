import type { SyncKind } from '../../db/project-tables.ts'
import type { ConnectionRow } from '../../db/tables.ts'
import { homeOf } from '../../gitlab/inspect-token.ts'
import { matchPathOf, type Place, WHOLE_INSTANCE } from '../../places/place.ts'

/**
 * Which lists of GitLab a run reads, one after the other. Pure.
 *
 * - The whole instance, and the token of a group: what the account is a member of, by id (keyset). GitLab serves these
 *   lists however long they are.
 * - Other groups: the projects of each group, by page. Past GitLab's last page: what the account is a member of.
 * - Projects: each by its id.
 * - Then what was not seen is marked, and the groups are read.
 *
 * An incremental run reads what was active since the last run, and what has a greater id than all that is known.
 */
export type Step =
  | { kind: 'membership' }
  | { kind: 'new' }
  | { kind: 'group'; ref: string }
  | { kind: 'project'; ref: string }
  | { kind: 'groups' }
  | { kind: 'mark-projects' }
  | { kind: 'mark-groups' }

/** Names a step in the row of a sync. */
export const nameOf = (step: Step): string => ('ref' in step ? `${step.kind} ${step.ref}` : step.kind)

export type Reaching = {
  tokenKind: ConnectionRow['token_kind']
  /** The places are the group of the token, and no part of it. */
  isWholeGroup: boolean
  places: readonly Place[]
}

type Account = Pick<ConnectionRow, 'token_kind' | 'gitlab_username'>

export const reachingOf = (
  { token_kind: tokenKind, gitlab_username }: Account,
  places: readonly Place[],
): Reaching => {
  const home = tokenKind === 'group_access_token' ? homeOf(gitlab_username) : undefined
  const isHome = ({ kind, gitlabId }: Place) => kind === 'group' && gitlabId === home?.id
  return { tokenKind, places, isWholeGroup: home?.kind === 'group' && places.every(isHome) }
}

const isWhole = (places: readonly Place[]): boolean => places.some(({ path }) => path === WHOLE_INSTANCE.path)

/** As GitLab takes it in a path: the id, or the whole path encoded. */
const refOf = ({ gitlabId, path }: Place): string => gitlabId ?? encodeURIComponent(path)

const projectSteps = ({ tokenKind, isWholeGroup, places }: Reaching): Step[] => {
  if (isWhole(places) || isWholeGroup) return [{ kind: 'membership' }]
  return places.map((place) =>
    place.kind === 'project' || tokenKind === 'project_access_token'
      ? { kind: 'project', ref: refOf(place) }
      : { kind: 'group', ref: refOf(place) },
  )
}

export const stepsOf = (reaching: Reaching, kind: SyncKind): Step[] => {
  const steps = projectSteps(reaching)
  if (kind === 'incremental')
    return steps.some((step) => step.kind === 'membership') ? [...steps, { kind: 'new' }] : steps
  const marked: Step[] = [...steps, { kind: 'mark-projects' }]
  return steps.every((step) => step.kind === 'project')
    ? marked
    : [...marked, { kind: 'groups' }, { kind: 'mark-groups' }]
}

/**
 * Whether the connection covers all that GitLab lists. So it is of the token of a group, and of what lies in a group,
 * whatever that is called by now.
 */
export const isAllCovered = (step: Step, { isWholeGroup, places }: Reaching): boolean =>
  step.kind === 'group' || isWholeGroup || isWhole(places)

/** Whether a path lies in what the connection covers. */
export const isCovered = (places: readonly Place[], path: string): boolean => {
  const wanted = matchPathOf(path)
  return places.some(({ path: place }) => {
    const covering = matchPathOf(place)
    return wanted === covering || wanted.startsWith(`${covering}/`)
  })
}

/** GitLab's largest page, and smaller ones for answers that are too large. Each divides the one before. */
export const PAGE_SIZES = [100, 50, 10, 1] as const

/** Of a list by page, the position counts items: the size of a page may change on the way. */
export const pageAt = (position: number, perPage: number): number => Math.floor(position / perPage) + 1
/** Guest: a custom role may let one read code. Without a level GitLab lists what is public too. */
const MEMBER_ACCESS_LEVEL = 10

/** What is asked of GitLab for a page. @param since of an incremental run. */
export const pathOf = (
  step: Exclude<Step, { kind: 'mark-projects' | 'mark-groups' }>,
  { position, perPage, since }: { position: number; perPage: number; since: Date | null },
): string => {
  const active = since === null ? '' : `&last_activity_after=${encodeURIComponent(since.toISOString())}`
  const keyset = `pagination=keyset&order_by=id&sort=asc&per_page=${perPage}&id_after=${position}`
  const own = `/api/v4/projects?membership=true&min_access_level=${MEMBER_ACCESS_LEVEL}&statistics=true&${keyset}`
  const page = `per_page=${perPage}&page=${pageAt(position, perPage)}`
  switch (step.kind) {
    case 'membership':
      return `${own}${active}`
    case 'new':
      return own
    case 'group': {
      const order = since === null ? 'order_by=id&sort=asc' : 'order_by=last_activity_at&sort=desc'
      return `/api/v4/groups/${step.ref}/projects?include_subgroups=true&with_shared=false&min_access_level=${MEMBER_ACCESS_LEVEL}&${order}&${page}`
    }
    case 'project':
      return `/api/v4/projects/${step.ref}?statistics=true`
    case 'groups':
      return `/api/v4/groups?min_access_level=${MEMBER_ACCESS_LEVEL}&order_by=id&sort=asc&${page}`
  }
}

/**
 * The step that a row names; undefined = the places of the connection are others by now.
 * A group that is too large for pages is read as `membership`, which then stands for all groups and projects.
 */
export const stepNamed = (steps: readonly Step[], name: string | null): Step | undefined =>
  name === 'membership' ? { kind: 'membership' } : steps.find((step) => nameOf(step) === name)

/** GitLab serves the list by page, not by id. */
export const isByPage = ({ kind }: Step): boolean => kind === 'group' || kind === 'groups'

const isOfPlace = ({ kind }: Step): boolean => kind === 'group' || kind === 'project'

/** undefined = the run ends. */
export const stepAfter = (steps: readonly Step[], step: Step): Step | undefined => {
  const at = steps.findIndex((other) => nameOf(other) === nameOf(step))
  return at < 0 ? steps.find((other) => !isOfPlace(other)) : steps[at + 1]
}
