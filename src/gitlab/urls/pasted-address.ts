import { canonicalBaseUrl } from '../base-url.ts'
import { parseResourceUrl, type ResourceUrl } from '../repository-url.ts'
import { PROJECT_PAGES, SIGN_IN_PAGES } from './reserved-names.ts'
import { unwrapUrl } from './unwrap.ts'

/** Pure: the address of a GitLab as people paste it where a base URL is asked for. */
export type PastedAddress = {
  /** How the address reads on a registered instance (readingsAt). undefined = a host in a form that URLs have rarely. */
  resource: ResourceUrl | undefined
  /** Where the GitLab is, if none that is registered has the address. */
  baseUrl: string
}

/** Pages of an instance behind `/-/`. Behind the path of a group or project there are others. */
const OWN_PAGES = new Set([
  'abuse_reports',
  'explore',
  'g',
  'health',
  'ide',
  'kubernetes',
  'liveness',
  'metrics',
  'operations',
  'organizations',
  'p',
  'profile',
  'push_from_secondary',
  'readiness',
  'snippets',
  'trial_registrations',
  'trials',
  'u',
  'user_settings',
  'users',
  'whats_new',
])

const isAny = (next: string | undefined, names: readonly string[]): boolean =>
  next === undefined || names.includes(next)

/** Whether a page of GitLab begins at a segment, so certainly that no instance can have it in its own path. */
const isOwnPage = (segment: string, next: string | undefined): boolean => {
  switch (segment) {
    case '-':
      return next !== undefined && OWN_PAGES.has(next)
    case 'users':
      return next !== undefined && SIGN_IN_PAGES.has(next)
    case 'groups':
    case 'explore':
    case 'dashboard':
      return true
    case 'api':
      return isAny(next, ['v3', 'v4', 'graphql'])
    case 'oauth':
      return isAny(next, ['authorize', 'token', 'applications', 'revoke', 'userinfo'])
    case 'profile':
      return isAny(next, ['account', 'applications', 'personal_access_tokens', 'preferences', 'keys'])
    case 'admin':
      return isAny(next, ['applications', 'application_settings', 'dashboard', 'groups', 'projects', 'users'])
    case 'projects':
      return next === 'new' || (next !== undefined && /^\d+$/.test(next))
    case '.well-known':
      return next === 'openid-configuration' || next === 'oauth-authorization-server'
    case 'help':
    case 'search':
      return next === undefined
    default:
      return false
  }
}

/** Where a page or a repository of some project begins: the base URL may end anywhere before, most likely at the host. */
const isOfProject = (segment: string, index: number): boolean =>
  segment === '-' || /\.git$/i.test(segment) || (index >= 2 && PROJECT_PAGES.has(segment))

const likelyBaseUrl = (resource: ResourceUrl, text: string): string | undefined => {
  const { transport, hostname, segments, bases } = resource
  if (transport === 'ssh') return `https://${hostname}`
  // The longest one, of https where the scheme is left out.
  const origin = new URL(bases[0]?.baseUrl ?? '').origin
  const lower = segments.map((segment) => segment.toLowerCase())
  const own = lower.findIndex((segment, index) => isOwnPage(segment, lower[index + 1]))
  if (own !== -1) return [origin, ...segments.slice(0, own)].join('/')
  return lower.some(isOfProject) ? origin : canonicalBaseUrl(text)
}

/** `javascript:…` is no host of SSH: a scheme, a user or a dot says that one is meant. */
const NAMES_SSH = /^(?:[a-z+]+:\/\/|[^/:]*[@.[])/i
const HOLDS_CREDENTIALS = /^(?:https?:\/\/)?[^/?#\s]*@/i

/**
 * Reads whatever leads to a GitLab: its base URL, any page out of the address bar, the URL of a project or group.
 * @returns undefined when it is no address, or holds credentials.
 */
export const readAddress = (text: string): PastedAddress | undefined => {
  const unwrapped = unwrapUrl(text)
  const resource = parseResourceUrl(unwrapped)
  if (resource?.transport === 'http' && HOLDS_CREDENTIALS.test(unwrapped)) return undefined
  if (resource?.transport === 'ssh' && !NAMES_SSH.test(unwrapped)) return undefined
  const baseUrl = resource ? likelyBaseUrl(resource, unwrapped) : canonicalBaseUrl(unwrapped)
  if (baseUrl === undefined) return undefined
  // What is left may be a page, too: /api/explore.
  const shorter = baseUrl.length < unwrapped.length ? readAddress(baseUrl)?.baseUrl : undefined
  return { resource, baseUrl: shorter ?? baseUrl }
}
