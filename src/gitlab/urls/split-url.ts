import { domainToUnicode } from 'node:url'

/** Pure: where a URL points, taken apart without asking what GitLab makes of it. */
export type SplitUrl = {
  /** ssh = the host is reached by SSH (or git://): it says neither scheme nor port of the instance. */
  transport: 'http' | 'ssh'
  /** Of the instance, most likely first. */
  protocols: string[]
  /** In lower case, punycode, without port and without the dot of the root. */
  hostname: string
  /** undefined = none is named, or the default one of the scheme. */
  port: string | undefined
  /** As they are in the path, decoded: one may hold slashes that were %2F. Empty ones are left out. */
  segments: string[]
  /** The segment before which the path has two slashes: go-getter and Kustomize separate the folder so. */
  folderAt: number | undefined
}

const ABSOLUTE = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)/i
/** `user@host:path`; a slash before the colon would make the text a file name (git-clone, GIT URLS). */
const SCP_LIKE = /^(?:[^@/\s:[\]]+@)?(\[[0-9a-f:.]+\]|[^@/\s:[\]]+):(?!\/\/)([^?#]+)/i
/** `[user@host:port]:path`: how Git writes a port in this form. */
const SCP_LIKE_WITH_PORT = /^\[(?:[^@/\s:[\]]+@)?([^@/\s:[\]]+):(\d{1,5})\]:([^?#]+)/
/** What an address bar and the path of a Go module leave out. A name without a dot is no host: it may be a group. */
const WITHOUT_SCHEME = /^(?:\/\/)?(([^@/?#\s:[\]]+|\[[0-9a-f:.]+\])(?::\d{1,5})?)((?:\/[^?#]*)?)(?:[?#]|$)/i
const USER_WITHOUT_SCHEME = /^[\w.+-]+@([^@/?#\s:]+)(\/[^?#]+)/

const AUTHORITY = /^(\[[0-9a-f:.]+\]|[^:[\]]+)(?::(.*))?$/i
const HIGHEST_PORT = 65_535
export const DEFAULT_PORTS: Record<string, string> = { 'https:': '443', 'http:': '80' }
const UNSAFE = /[\p{Cc}\\]/u

/**
 * The host as DNS takes it. A host that only becomes this one by what a URL parser forgives (full-width letters,
 * numbers for an address, percent-encoding) is none: Git and the parser could disagree about where to go.
 */
const readHostname = (written: string): string | undefined => {
  const host = written.toLowerCase().replace(/\.$/, '')
  if (/^[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z][a-z0-9-]*$/.test(host) && !host.includes('xn--')) return host
  const hostname = URL.parse(`https://${host}`)?.hostname
  if (hostname === undefined || hostname === '') return undefined
  return hostname === host || domainToUnicode(hostname) === host ? hostname : undefined
}

const readPort = (written: string | undefined, protocols: string[]): { port?: string } | undefined => {
  if (written === undefined || written === '') return {}
  if (!/^\d{1,5}$/.test(written) || Number(written) > HIGHEST_PORT) return undefined
  const port = String(Number(written))
  return protocols.length === 1 && DEFAULT_PORTS[protocols[0] ?? ''] === port ? {} : { port }
}

/** Once, and a %2F once more: proxies encode what was encoded. */
const decode = (segment: string): string | undefined => {
  if (!segment.includes('%')) return segment
  try {
    const decoded = decodeURIComponent(segment)
    return /%2[ef]/i.test(decoded) ? decodeURIComponent(decoded) : decoded
  } catch {
    return undefined
  }
}

const readPath = (path: string): Pick<SplitUrl, 'segments' | 'folderAt'> | undefined => {
  const segments: string[] = []
  let folderAt: number | undefined
  let empty = false
  for (const written of path.replace(/^\/+/, '').split('/')) {
    if (written === '') {
      empty = true
      continue
    }
    const segment = decode(written)
    if (segment === undefined || UNSAFE.test(segment)) return undefined
    if (segment.split('/').some((part) => part === '.' || part === '..')) return undefined
    if (empty && segments.length > 0) folderAt ??= segments.length
    empty = false
    segments.push(segment)
  }
  return { segments, folderAt }
}

const SSH = { transport: 'ssh', protocols: ['https:', 'http:'] } as const
const SCHEMELESS = { transport: 'http', protocols: ['https:', 'http:'] } as const
type Kind = { transport: SplitUrl['transport']; protocols: readonly string[] }

const kindOf = (scheme: string): Kind | undefined => {
  switch (scheme.toLowerCase()) {
    case 'https':
    case 'http':
      return { transport: 'http', protocols: [`${scheme.toLowerCase()}:`] }
    case 'ssh':
    case 'git':
      return SSH
    default:
      return undefined
  }
}

const assemble = (kind: Kind, authority: string, path: string): SplitUrl | undefined => {
  const [, written, afterColon] = AUTHORITY.exec(authority.slice(authority.lastIndexOf('@') + 1)) ?? []
  const hostname = written === undefined ? undefined : readHostname(written)
  // ssh://git@host:group/project is no URL, and many write it: the colon of the scp-like form.
  const isScpLike = kind.transport === 'ssh' && afterColon !== undefined && !/^\d*$/.test(afterColon)
  const protocols = [...kind.protocols]
  const port = readPort(isScpLike ? '' : afterColon, protocols)
  const read = readPath(isScpLike ? `${afterColon}${path}` : path)
  if (hostname === undefined || port === undefined || read === undefined) return undefined
  return { transport: kind.transport, protocols, hostname, port: port.port, ...read }
}

/** @returns undefined when it names no host, or could be taken for another than it is. */
export const splitUrl = (text: string): SplitUrl | undefined => {
  if (UNSAFE.test(text)) return undefined
  const absolute = ABSOLUTE.exec(text)
  if (absolute) {
    const [, scheme = '', authority = '', path = ''] = absolute
    const kind = kindOf(scheme)
    return kind && assemble(kind, authority, path)
  }
  const withPort = SCP_LIKE_WITH_PORT.exec(text)
  if (withPort) return assemble(SSH, `${withPort[1]}:${withPort[2]}`, withPort[3] ?? '')
  // host:8443/group/project: with a user it would be the folder 8443 of SSH, without one it is an address bar's port.
  const schemeless = WITHOUT_SCHEME.exec(text)
  if (schemeless && /[.[]|^localhost$/i.test(schemeless[2] ?? ''))
    return assemble(SCHEMELESS, schemeless[1] ?? '', schemeless[3] ?? '')
  const scpLike = SCP_LIKE.exec(text)
  if (scpLike) return assemble(SSH, scpLike[1] ?? '', scpLike[2] ?? '')
  const withUser = USER_WITHOUT_SCHEME.exec(text)
  return withUser ? assemble(SSH, withUser[1] ?? '', withUser[2] ?? '') : undefined
}
