import type { Group, People, Project, User } from './people.ts'
import { Refusal } from './refusal.ts'

/** One boundary of a fine-grained token, and what it may do there (app/models/authz/granular_scope.rb). */
export type GranularScope = {
  access: 'instance' | 'user' | 'all_memberships' | 'personal_projects' | 'selected_memberships'
  /** As GitLab names them: `download_code`, `read_project`, `read_group`, `read_user`. */
  permissions: string[]
  /** The group or project of `selected_memberships`. */
  path?: string
}

/** What of a token counts here. */
type Bearer = { user: User; granular: GranularScope[] | undefined }

export type Boundary = Group | Project | 'user' | 'instance'

const LABELS: Record<string, string> = {
  download_code: 'Code: Download',
  push_code: 'Code: Push',
  read_project: 'Project: Read',
  read_group: 'Group: Read',
  read_user: 'User: Read',
  read_instance_metadata: 'Instance Metadata: Read',
  read_personal_access_token: 'Personal Access Token: Read',
  rotate_personal_access_token: 'Personal Access Token: Rotate',
}

const isPlace = (boundary: Boundary): boundary is Group | Project => typeof boundary !== 'string'

const kindOf = (boundary: Boundary): string => (isPlace(boundary) ? boundary.kind : boundary)

const sentence = (permission: string, boundary: Boundary): string =>
  `Access denied: This operation requires a fine-grained personal access token with the following ${kindOf(boundary)} permissions: [${LABELS[permission] ?? permission}].`

const isAtOrBelow = (place: Group | Project, path: string): boolean =>
  `${place.fullPath}/`.toLowerCase().startsWith(`${path}/`.toLowerCase())

/** Fine-grained tokens, and groups that take no others. */
export const createGranularRules = (people: People) => {
  /** Top-level groups; '' = the whole instance. */
  const enforcing = new Set<string>()

  const covers = ({ access, path }: GranularScope, user: User, boundary: Boundary): boolean => {
    if (!isPlace(boundary)) return access === boundary
    switch (access) {
      case 'all_memberships':
        return people.accessLevel(user, boundary) > 0
      case 'personal_projects':
        return boundary.parentPath === user.username
      case 'selected_memberships':
        return path !== undefined && isAtOrBelow(boundary, path)
      default:
        return false
    }
  }

  const demandsGranular = (boundary: Boundary): boolean =>
    enforcing.has('') || (isPlace(boundary) && [...enforcing].some((path) => isAtOrBelow(boundary, path)))

  /** Why a token may not do this there, in GitLab's words; undefined = it may. */
  const denial = (token: Bearer, permission: string, boundary: Boundary): string | undefined => {
    const { granular, user } = token
    if (granular) {
      const may = granular.some(
        (scope) => scope.permissions.includes(permission) && covers(scope, user, boundary),
      )
      return may ? undefined : sentence(permission, boundary)
    }
    return !user.bot && demandsGranular(boundary) ? sentence(permission, boundary) : undefined
  }

  return {
    /** Whether `/self` has `granular_scopes` (19.6). */
    tellsScopes: true,
    /** Whether `/self` needs a permission of its own, as some versions have it. */
    selfNeedsPermission: false,
    denial,
    /** @throws {Refusal} 403, as the API has it */
    require(token: Bearer | undefined, permission: string, boundary: Boundary): void {
      const description = token && denial(token, permission, boundary)
      if (description)
        throw new Refusal(403, { error: 'insufficient_granular_scope', error_description: description })
    },
    /** The group and everything below it takes fine-grained tokens only; '' = the whole instance. */
    demand: (path: string): void => void enforcing.add(path),
    release: (path: string): void => void enforcing.delete(path),
    /** As `/self` tells it: numbers in place of paths. */
    tell: (scopes: GranularScope[]) =>
      scopes.map(({ access, permissions, path = '' }) => ({
        access,
        permissions,
        project_id: path === '' ? null : (people.findProject(path)?.id ?? null),
        group_id: path === '' ? null : (people.findGroup(path)?.id ?? null),
      })),
  }
}
