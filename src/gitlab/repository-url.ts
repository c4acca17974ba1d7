/** A repository or group, as a scanner names it by URL. */
export type ResourceUrl = {
  /** Each way to read the URL as base URL and path, longest base URL first: a GitLab may live under a path. */
  readings: { baseUrl: string; path: string }[]
  /** true: the base URLs stand for an instance on any port of their host, since SSH has another port than HTTP. */
  anyPort: boolean
}

const SCP_LIKE = /^(?:[^@/\s:]+@)?([^@/\s:]+):(?!\/\/)(.+)$/
/** Segments after which GitLab's own pages begin: /group/project/-/merge_requests/1. */
const PAGE_SEPARATOR = /\/-(\/.*)?$/
/** Where Git and Git LFS talk about a repository: /group/project.git/info/lfs. */
const GIT_SERVICE = /\.git\/(info\/(lfs|refs)|git-(upload|receive)-pack)(\/.*)?$/i
const CONTROL_CHARACTERS = /\p{Cc}/u
const LONGEST_URL = 2048
/** GitLab allows 20 levels of groups above a project (docs, subgroups), and is installed a few folders deep at most.
 * Without these limits a long URL would stand for a million pairs of base URL and group. */
const DEEPEST_INSTANCE_PATH = 4
const DEEPEST_GROUP_PATH = 22

type Parsed = { protocols: string[]; host: string; path: string; anyPort: boolean }

const parse = (text: string): Parsed | undefined => {
  const ssh = { protocols: ['https:', 'http:'], anyPort: true }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
    const url = URL.parse(text)
    switch (url?.protocol) {
      case 'http:':
      case 'https:':
        return { protocols: [url.protocol], host: url.host, path: url.pathname, anyPort: false }
      case 'ssh:':
      case 'git+ssh:':
        return { ...ssh, host: url.hostname.toLowerCase(), path: url.pathname }
      default:
        return undefined
    }
  }
  const [, host, path] = SCP_LIKE.exec(text) ?? []
  return host && path ? { ...ssh, host: host.toLowerCase(), path: `/${path}` } : undefined
}

const decode = (path: string): string | undefined => {
  try {
    return decodeURIComponent(path)
  } catch {
    return undefined
  }
}

/**
 * Reads `https://host/group/project(.git)`, `git@host:group/project.git` and `ssh://git@host:22/group/project.git`.
 * Credentials, query and fragment are dropped.
 * @returns undefined when it is none of these.
 */
export const parseResourceUrl = (text: string): ResourceUrl | undefined => {
  if (text.length > LONGEST_URL) return undefined
  const parsed = parse(text.trim())
  const path = parsed && decode(parsed.path)
  if (parsed === undefined || path === undefined || CONTROL_CHARACTERS.test(path)) return undefined
  const segments = path
    .replace(PAGE_SEPARATOR, '')
    .replace(GIT_SERVICE, '')
    .replace(/\/+$/, '')
    .replace(/\.git$/i, '')
    .split('/')
    .filter(Boolean)
  if (segments.some((segment) => segment === '.' || segment === '..')) return undefined

  // At least one segment is left to look up: the last one never belongs to the instance's own path.
  const deepest = Math.max(0, Math.min(segments.length - 1, DEEPEST_INSTANCE_PATH))
  const depths = Array.from({ length: deepest + 1 }, (_, index) => deepest - index)
  const readings = parsed.protocols.flatMap((protocol) =>
    depths.map((depth) => ({
      baseUrl: [`${protocol}//${parsed.host}`, ...segments.slice(0, depth)].join('/'),
      path: segments.slice(depth).join('/'),
    })),
  )
  return { readings, anyPort: parsed.anyPort }
}

/** The groups that may cover a path: the path itself and every group above it, deepest first, then '' (everything). */
export const coveringPaths = (path: string): string[] => {
  const segments = path.toLowerCase().split('/').filter(Boolean).slice(0, DEEPEST_GROUP_PATH)
  return [...segments.map((_, index) => segments.slice(0, segments.length - index).join('/')), '']
}

/** `https://host/group` without its trailing slash, in lower case: what isWithinPrefix takes. @returns undefined when it is none. */
export const canonicalUrlPrefix = (text: string): string | undefined => {
  const url = URL.parse(text.trim())
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash)
    return undefined
  const whole = parseResourceUrl(text)?.readings.at(-1)
  return whole && !/[*?]/.test(whole.path) ? joined(whole) : undefined
}

const joined = ({ baseUrl, path }: { baseUrl: string; path: string }): string =>
  path === '' ? baseUrl : `${baseUrl}/${path.toLowerCase()}`

const isBelow = (url: string, prefix: string): boolean => url === prefix || url.startsWith(`${prefix}/`)

const withoutPort = (url: string): string => url.replace(/^(https?:\/\/[^/]+?):\d+(?=\/|$)/, '$1')

/** The whole path of a resource on its host, whatever part of it is the instance's own. */
const wholePath = ({ readings }: ResourceUrl): string => readings.at(-1)?.path ?? ''

/** Whether a resource lies at or below a canonical prefix. SSH names no port of the instance: see isWithinPrefixAt. */
export const isWithinPrefix = (resource: ResourceUrl, prefix: string): boolean => {
  const path = wholePath(resource)
  const origins = new Set(resource.readings.map(({ baseUrl }) => new URL(baseUrl).origin))
  return [...origins].some((origin) =>
    isBelow(joined({ baseUrl: origin, path }), resource.anyPort ? withoutPort(prefix) : prefix),
  )
}

/** The same when it is known on which instance the resource is. */
export const isWithinPrefixAt = (resource: ResourceUrl, instanceUrl: string, prefix: string): boolean =>
  isBelow(joined({ baseUrl: new URL(instanceUrl).origin, path: wholePath(resource) }), prefix)
