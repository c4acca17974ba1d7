import { Type } from 'typebox'
import { Value } from 'typebox/value'

/**
 * Fine-grained personal tokens (GA in GitLab 19.2). Their scope says `granular` and nothing else; what they may do is in
 * `granular_scopes` of `/personal_access_tokens/self`, which GitLab has since 19.6. Pure.
 */

const GRANULAR = 'granular'
/** "Code: Download" of the form: clone, LFS and archives. */
export const DOWNLOAD_CODE = 'download_code'
const ROTATE = /^rotate_personal_access_token$/
const MOST_SCOPES = 500

const Access = Type.Union([
  Type.Literal('instance'),
  Type.Literal('user'),
  Type.Literal('all_memberships'),
  Type.Literal('personal_projects'),
  Type.Literal('selected_memberships'),
])
const PlaceId = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })

export type GranularPlace = { kind: 'group' | 'project'; id: string }

export type GranularRights = {
  /** Whether it may clone anywhere at all. */
  mayDownload: boolean
  /** Whether it may rotate itself. */
  mayRotate: boolean
  /** Where it may clone: everywhere that its owner is a member, or in these places. None: in the owner's own projects. */
  downloads: 'everywhere' | GranularPlace[]
}

/** Exactly this one scope: beside others it is read as theirs, which is what GitLab does. */
export const isFineGrained = (scopes: readonly string[]): boolean =>
  scopes.length === 1 && scopes[0] === GRANULAR

/** `granular_scopes` as GitLab tells it; undefined = GitLab does not tell, or nothing that can be read. */
export const readGranularScopes = (value: unknown): GranularRights | undefined => {
  if (!Array.isArray(value)) return undefined
  const scopes = value.slice(0, MOST_SCOPES).map(readScope)
  if (scopes.length === 0 || scopes.includes(undefined)) return undefined
  const read = scopes.filter((scope) => scope !== undefined)
  const downloading = read.filter(
    ({ access, permissions }) => isOfProjects(access) && permissions.includes(DOWNLOAD_CODE),
  )
  return {
    mayDownload: downloading.length > 0,
    mayRotate: read.some(
      ({ access, permissions }) => access === 'user' && permissions.some((name) => ROTATE.test(name)),
    ),
    downloads: downloading.some(({ access }) => access === 'all_memberships')
      ? 'everywhere'
      : downloading.flatMap(({ place }) => (place ? [place] : [])),
  }
}

type Scope = { access: string; permissions: string[]; place: GranularPlace | undefined }

const isOfProjects = (access: string): boolean => access !== 'user' && access !== 'instance'

const readScope = (value: unknown): Scope | undefined => {
  const { access, permissions, project_id, group_id } = (value ?? {}) as Record<string, unknown>
  if (!Value.Check(Access, access) || !Array.isArray(permissions)) return undefined
  const place = Value.Check(PlaceId, project_id)
    ? ({ kind: 'project', id: String(project_id) } as const)
    : Value.Check(PlaceId, group_id)
      ? ({ kind: 'group', id: String(group_id) } as const)
      : undefined
  return { access, permissions: permissions.map(String), place }
}
