/** A repository or group, as a scanner names it by URL. */
export type ResourceUrl = {
  /** Candidates for the base URL of its instance, longest first: a GitLab may live under a path. */
  baseUrls: string[]
  /** Lower-case host with port, and the path below it, for a URL of each candidate. */
  pathBelow(baseUrl: string): string
}

const SCP_LIKE = /^(?:[^@/\s:]+@)?([^@/\s:]+):(?!\/\/)(.+)$/
/** Segments after which GitLab's own pages begin: /group/project/-/merge_requests/1. */
const PAGE_SEPARATOR = /\/-(\/.*)?$/
const LONGEST_URL = 2048

const parse = (text: string): { protocols: string[]; host: string; path: string } | undefined => {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
    if (!URL.canParse(text)) return undefined
    const url = new URL(text)
    switch (url.protocol) {
      case 'http:':
      case 'https:':
        return { protocols: [url.protocol], host: url.host, path: url.pathname }
      // SSH names the same server by another port: match on the host, over https first.
      case 'ssh:':
      case 'git+ssh:':
        return { protocols: ['https:', 'http:'], host: url.hostname.toLowerCase(), path: url.pathname }
      default:
        return undefined
    }
  }
  const [, host, path] = SCP_LIKE.exec(text) ?? []
  return host && path
    ? { protocols: ['https:', 'http:'], host: host.toLowerCase(), path: `/${path}` }
    : undefined
}

/**
 * Reads `https://host/group/project(.git)`, `git@host:group/project.git` and `ssh://git@host:22/group/project.git`.
 * Credentials, query and fragment in it are dropped.
 * @returns undefined when it is none of these.
 */
export const parseResourceUrl = (text: string): ResourceUrl | undefined => {
  if (text.length > LONGEST_URL) return undefined
  const parsed = parse(text.trim())
  if (!parsed) return undefined
  let path: string
  try {
    path = decodeURIComponent(parsed.path)
  } catch {
    return undefined
  }
  const segments = path
    .replace(PAGE_SEPARATOR, '')
    .replace(/\/+$/, '')
    .replace(/\.git$/i, '')
    .split('/')
    .filter(Boolean)
  if (segments.some((segment) => segment === '.' || segment === '..')) return undefined

  // The last segment is never the instance's own path: something has to be left to look up.
  const depths = Array.from({ length: Math.max(segments.length, 1) }, (_, index) => index).reverse()
  const baseUrls = parsed.protocols.flatMap((protocol) =>
    depths.map((depth) => [`${protocol}//${parsed.host}`, ...segments.slice(0, depth)].join('/')),
  )
  return {
    baseUrls,
    pathBelow(baseUrl) {
      const own = new URL(baseUrl).pathname.split('/').filter(Boolean).length
      return segments.slice(own).join('/')
    },
  }
}

/** `group` and every group above it, deepest first, then '' for "everything": what may cover the path. */
export const coveringPaths = (path: string): string[] => {
  const segments = path.toLowerCase().split('/').filter(Boolean)
  return [...segments.map((_, index) => segments.slice(0, segments.length - index).join('/')), '']
}
