import { type PlacePath, readHttpPath, readSshPath } from './urls/place-path.ts'
import { DEFAULT_PORTS, type SplitUrl, splitUrl } from './urls/split-url.ts'
import { unwrapUrl } from './urls/unwrap.ts'

/** A project or group on an instance; see PlacePath for what `uncutPath` adds. */
export type Reading = PlacePath & { baseUrl: string }

/** A repository or group, as a scanner names it by URL. */
export type ResourceUrl = SplitUrl & {
  /** Where an instance may end, longest first, since a GitLab may live under a path; readingsOf tells what follows. */
  bases: { baseUrl: string; depth: number }[]
  /** true: the base URLs stand for an instance on any port of their host, since SSH has another port than HTTP. */
  anyPort: boolean
}

/** A registered instance, and under which other names its SSH server is known. */
export type NamedInstance = {
  base_url: string
  /** `host` (on any port) or `host:port`. */
  ssh_hosts: readonly string[]
}

const LONGEST_URL = 2048
/** GitLab allows 20 levels of groups above a project (docs, subgroups), and is installed a few folders deep at most.
 * Without these limits a long URL would stand for a million pairs of base URL and group. */
const DEEPEST_INSTANCE_PATH = 4
const DEEPEST_GROUP_PATH = 22
/** Where SSH listens when a URL names no port. */
const SSH_PORT = '22'

/**
 * Reads the URL of a project or group in every form that people and tools write: `https://host/group/project(.git)`,
 * `git@host:group/project.git`, `ssh://…`, what package managers and infrastructure tools put around them, and the pages
 * and services behind them. Credentials, query and fragment are dropped. Pure: it knows no instance, so a URL has one
 * reading for each place where the path of an instance could end; readingsAt chooses among them.
 * @returns undefined when it is none of these, or may be taken for another URL than it is.
 */
export const parseResourceUrl = (text: string): ResourceUrl | undefined => {
  if (text.length > LONGEST_URL) return undefined
  const split = splitUrl(unwrapUrl(text.trim()))
  if (split === undefined) return undefined
  const page = split.segments.indexOf('-')
  const deepest = Math.min(page === -1 ? split.segments.length : page, DEEPEST_INSTANCE_PATH)
  const depths = Array.from({ length: deepest + 1 }, (_, index) => deepest - index)
  // SSH and HTTP of one instance have one path each: below a deeper base URL, a repository at least has to be left.
  const anyPort = split.transport === 'ssh'
  const bases = split.protocols.flatMap((protocol) =>
    depths
      .filter((depth) => !anyPort || depth === 0 || depth < split.segments.length)
      .map((depth) => ({
        baseUrl: [originOf(split, protocol), ...split.segments.slice(0, depth)].join('/'),
        depth,
      })),
  )
  return { ...split, bases, anyPort }
}

/** Each way to read the URL as base URL and path, longest base URL first. */
export const readingsOf = (resource: ResourceUrl): Reading[] =>
  resource.bases.map(({ baseUrl, depth }) => ({ baseUrl, ...placeBelow(resource, depth) }))

const originOf = ({ transport, hostname, port }: SplitUrl, protocol: string): string =>
  transport === 'ssh' || port === undefined || port === DEFAULT_PORTS[protocol]
    ? `${protocol}//${hostname}`
    : `${protocol}//${hostname}:${port}`

/** What a URL names behind the first segments, which are the instance's own path. */
const placeBelow = ({ transport, segments, folderAt }: SplitUrl, depth: number): PlacePath => {
  const read = transport === 'ssh' ? readSshPath : readHttpPath
  const folder = folderAt !== undefined && folderAt > depth ? folderAt - depth : undefined
  return read(segments.slice(depth), folder)
}

const hostOf = (baseUrl: string): string => new URL(baseUrl).hostname

/** The instance's own path, as segments. */
const ownPath = (baseUrl: string): string[] => new URL(baseUrl).pathname.split('/').filter(Boolean)

/** Where a URL leads on an instance, if its host and port are left aside. undefined = its path lies elsewhere. */
const placeOn = (split: SplitUrl, { base_url }: NamedInstance): Reading | undefined => {
  const own = ownPath(base_url)
  if (!own.every((segment, index) => split.segments[index] === segment)) return undefined
  return { baseUrl: base_url, ...placeBelow(split, own.length) }
}

/**
 * On which instances a URL lies, and as what. One for http(s): the longest base URL of those registered. SSH says
 * less: the instances that name its host and port, else those that name its host, else those with this host.
 * @param instances those with the host, or with one of sshNamesOf
 */
export const readingsAt = (resource: ResourceUrl, instances: readonly NamedInstance[]): Reading[] => {
  if (resource.transport === 'ssh') return sshReadingsAt(resource, instances)
  const registered = new Set(instances.map(({ base_url }) => base_url))
  const base = resource.bases.find(({ baseUrl }) => registered.has(baseUrl))
  return base ? [{ baseUrl: base.baseUrl, ...placeBelow(resource, base.depth) }] : []
}

/** The names by which an instance may claim the host of an SSH URL; none for http(s). */
export const sshNamesOf = ({ transport, hostname, port = SSH_PORT }: SplitUrl): string[] =>
  transport === 'ssh' ? [`${hostname}:${port}`, hostname] : []

const sshReadingsAt = (resource: ResourceUrl, instances: readonly NamedInstance[]): Reading[] => {
  const [exact = '', name = ''] = sshNamesOf(resource)
  const { hostname, port } = resource
  const claims: ((instance: NamedInstance) => boolean)[] = [
    ({ ssh_hosts }) => ssh_hosts.includes(exact),
    ({ ssh_hosts }) => ssh_hosts.includes(name),
    // The port may stand in the configuration of SSH instead of the URL.
    ({ ssh_hosts }) => port === undefined && ssh_hosts.some((host) => host.startsWith(`${hostname}:`)),
  ]
  const withHost = instances.filter(({ base_url }) => hostOf(base_url) === hostname)
  const atRoot = withHost.filter(({ base_url }) => ownPath(base_url).length === 0)
  const claiming = claims.map((claim) => instances.filter(claim)).find((found) => found.length > 0)
  const below = (claiming ?? withHost).filter(({ base_url }) => ownPath(base_url).length > 0)
  // An SSH URL may contain the path of the instance, as some tools write it; it need not. Where nobody claims the host,
  // the GitLab that has the host without a path is meant.
  const within = below.flatMap((instance) => placeOn(resource, instance) ?? [])
  const whole = claiming ?? (atRoot.length > 0 ? atRoot : below)
  const place = placeBelow(resource, 0)
  return [...within, ...whole.map(({ base_url }) => ({ baseUrl: base_url, ...place }))]
}

/**
 * Where an http(s) URL would lie if its scheme or port were another: for a hint, never for a token.
 * @param instances those with the host
 */
export const nearReadings = (resource: ResourceUrl, instances: readonly NamedInstance[]): Reading[] =>
  resource.transport === 'ssh'
    ? []
    : instances
        .filter(({ base_url }) => hostOf(base_url) === resource.hostname)
        .flatMap((instance) => placeOn(resource, instance) ?? [])

const groupsAbove = (path: string): string[] => {
  const segments = path.toLowerCase().split('/').filter(Boolean).slice(0, DEEPEST_GROUP_PATH)
  return segments.map((_, index) => segments.slice(0, segments.length - index).join('/'))
}

/** The groups that may cover a place: its path and every group above it, deepest first, then '' (everything). */
export const coveringPaths = ({ path, uncutPath }: PlacePath): string[] => {
  if (uncutPath === undefined) return [...groupsAbove(path), '']
  const paths = [...new Set([...groupsAbove(uncutPath), ...groupsAbove(path)])]
  return [...paths.sort((a, b) => b.length - a.length), '']
}

/**
 * `https://host/group` without its trailing slash, in lower case: what isWithinPrefix takes.
 * @returns undefined when it is none, or a page of GitLab that names no group.
 */
export const canonicalUrlPrefix = (text: string): string | undefined => {
  const url = URL.parse(text.trim())
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash)
    return undefined
  const resource = parseResourceUrl(text)
  const whole = resource && readingsOf(resource).at(-1)
  if (whole === undefined || /[*?]/.test(whole.path)) return undefined
  return whole.path === '' && url.pathname !== '/' ? undefined : joined(whole)
}

/** Origin and path, in lower case. A prefix is as narrow as the URL may be read. */
const joined = ({ baseUrl, path, uncutPath = path }: Reading): string =>
  (uncutPath === '' ? baseUrl : `${baseUrl}/${uncutPath}`).toLowerCase()

const isBelow = (url: string, prefix: string): boolean => url === prefix || url.startsWith(`${prefix}/`)

/**
 * Whether a resource may lie at or below a canonical prefix. Only the instance tells: SSH names no port or path of it,
 * and a page of an instance under a path looks like a group. isWithinPrefixAt decides.
 */
export const isWithinPrefix = (resource: ResourceUrl, prefix: string): boolean =>
  resource.anyPort || readingsOf(resource).some((reading) => isWithinPrefixAt(reading, prefix))

/** The wiki of a project and its designs are repositories of their own, and for a key a part of the project. */
const isBesideProject = ({ path, uncutPath = '' }: Reading): boolean =>
  path.includes('/') &&
  uncutPath.startsWith(path) &&
  /^\.(?:wiki|design)$/i.test(uncutPath.slice(path.length))

/** As a key with these prefixes may ask: for the wiki of a project, and for no project that is called like the wiki. */
export const readingWithin = (reading: Reading, prefixes: readonly string[]): Reading =>
  isBesideProject(reading) && !prefixes.some((prefix) => isBelow(joined(reading), prefix))
    ? { baseUrl: reading.baseUrl, path: reading.path }
    : reading

/** Whether a place on a known instance lies at or below a canonical prefix, whichever way its path is read. */
export const isWithinPrefixAt = (written: Reading, prefix: string): boolean => {
  const reading = isBesideProject(written) ? { baseUrl: written.baseUrl, path: written.path } : written
  const { path, uncutPath = path, baseUrl } = reading
  if (!isBelow(joined(reading), prefix)) return false
  return isBelow(uncutPath, path) || isBelow(joined({ baseUrl, path }), prefix)
}
