import { Problem } from '../errors/problem.ts'
import { isFineGrained } from './granular.ts'

/** Scopes that another scope includes (GitLab docs, personal access token scopes). */
const INCLUDES: Record<string, string[]> = {
  api: ['read_api', 'read_user', 'read_repository', 'write_repository', 'self_rotate'],
  read_api: ['read_user'],
  write_repository: ['read_repository'],
}

export const hasScope = (scopes: readonly string[], wanted: string): boolean =>
  scopes.some((scope) => scope === wanted || INCLUDES[scope]?.includes(wanted))

/** Whether a token may rotate itself. What a fine-grained token may do, GitLab says when it is tried. */
export const mayRotateItself = (scopes: readonly string[]): boolean =>
  hasScope(scopes, 'self_rotate') || isFineGrained(scopes)

/** The wanted scopes that a token has neither by name nor as part of another scope. */
export const missingScopes = (scopes: readonly string[], wanted: readonly string[]): string[] =>
  wanted.filter((scope) => !hasScope(scopes, scope))

export const missingScopesProblem = (missing: string[], purpose: string): Problem =>
  new Problem(
    'missing_scopes',
    `The token needs ${missing.join(', ')} ${purpose}. Create one with it at GitLab.`,
    {
      members: { missing_scopes: missing },
    },
  )

/** The scopes that a problem names as missing. */
export const missingScopesOf = ({ extras }: Problem): string[] => {
  const missing = extras.members?.missing_scopes
  return Array.isArray(missing) ? missing.map(String) : []
}
