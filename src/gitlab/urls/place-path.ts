import {
  INSTANCE_PAGES,
  LIKELY_PAGES,
  PROJECT_PAGE_PAIRS,
  PROJECT_PAGES,
  SIGN_IN_PAGES,
} from './reserved-names.ts'

/** Pure: which project or group GitLab takes for the path behind its base URL. */
export type PlacePath = {
  /** As GitLab most likely takes it. '' = none is named: the instance as a whole. */
  path: string
  /**
   * What GitLab takes instead where a project or group of this name exists: a project may be called `issues`, and
   * `web-shop.wiki`. undefined = the path is certain.
   */
  uncutPath?: string
}

const NOWHERE: PlacePath = { path: '' }
const NUMBER = /^\d+$/
/** No path at GitLab ends in .git: a file, a folder, a version or a service of Git follows. */
const REPOSITORY = /^(.*?)\.git(?:[@,:;].*)?$/i
/** Repositories that belong to another place (lib/gitlab/gl_repository.rb). A project of this name comes first there. */
const BESIDE = /\.(?:wiki|design)$/i
/** No path at GitLab holds these: a ref follows (Go, pip, components of CI), or a version (Ansible). */
const REF = /[@,]/

/** A project lies below a group at least; the page of a group may stand right behind its first level. */
type FirstPage = 1 | 2

/** Segments up to where the path certainly ends; isRepository = `.git` says that the last one is a repository. */
const certainPart = (
  segments: string[],
  firstPage: FirstPage,
): { certain: string[]; isRepository: boolean } => {
  const certain: string[] = []
  for (const [index, segment] of segments.entries()) {
    const lower = segment.toLowerCase()
    if (index > 0 && (lower === '-' || lower === '.git')) break
    if (index >= firstPage && PROJECT_PAGES.has(lower)) break
    const pair = `${lower}/${segments[index + 1]?.toLowerCase()}`
    if (index >= firstPage && PROJECT_PAGE_PAIRS.has(pair)) break
    const repository = REPOSITORY.exec(segment)?.[1]
    if (repository !== undefined) return { certain: [...certain, repository], isRepository: true }
    const ref = segment.search(REF)
    if (ref > 0) certain.push(segment.slice(0, ref))
    if (ref !== -1) break
    certain.push(segment)
  }
  return { certain, isRepository: false }
}

/** v2 and later: the major version of a Go module. */
const GO_VERSION = /^v[1-9]\d*$/
const isLikelyPage = (segment: string): boolean =>
  LIKELY_PAGES.has(segment.toLowerCase()) || GO_VERSION.test(segment)

/** Index of the segment before which the path likely ends. */
const likelyEnd = (
  certain: string[],
  isRepository: boolean,
  { firstPage, folderAt, pages }: PlaceOptions,
): number => {
  const isSnippet = certain.length > 3 && certain.at(-2) === 'snippets' && NUMBER.test(certain.at(-1) ?? '')
  if (isRepository) return isSnippet ? certain.length - 2 : certain.length
  const page = certain.findIndex((segment, at) => at >= firstPage && isLikelyPage(segment))
  const ends = [pages ? page : -1, folderAt ?? -1].filter((at) => at >= firstPage)
  return Math.min(certain.length, ...ends)
}

type PlaceOptions = {
  firstPage: FirstPage
  /** The segment before which the URL has two slashes. */
  folderAt?: number | undefined
  /** Whether pages can stand here: SSH serves repositories alone. */
  pages: boolean
}

const readPlace = (segments: string[], options: PlaceOptions): PlacePath => {
  const { certain, isRepository } = certainPart(segments, options.firstPage)
  const last = certain.at(-1)
  if (last === undefined) return NOWHERE
  certain.splice(-1, 1, last.replace(/\.atom$/i, '').replace(/\.+$/, '') || last)
  const whole = certain.join('/')
  const path = certain
    .slice(0, likelyEnd(certain, isRepository, options))
    .join('/')
    .replace(BESIDE, '')
  return path === whole || path === '' || path.endsWith('/') ? { path: whole } : { path, uncutPath: whole }
}

const flat = (segments: string[]): string[] =>
  segments.flatMap((segment) => segment.split('/')).filter(Boolean)

/** `/api/v4/projects/acme%2Fweb-shop/issues`: the id is one segment. A number names nothing that can be looked up. */
const readApi = ([version = '', collection = '', id = '']: string[]): PlacePath => {
  if (!/^v[34]$/i.test(version) || !/^(projects|groups|namespaces|users)$/.test(collection)) return NOWHERE
  return id === '-' || NUMBER.test(id) ? NOWHERE : { path: flat([id]).join('/') }
}

/** What stands at a name of the first level that GitLab has for itself. */
const readInstancePage = ([name = '', ...rest]: string[]): PlacePath => {
  const first = rest[0]?.toLowerCase() ?? ''
  switch (name.toLowerCase()) {
    case 'groups':
      return first === 'new' ? NOWHERE : readPlace(flat(rest), { firstPage: 1, pages: true })
    case 'users':
      return SIGN_IN_PAGES.has(first) ? NOWHERE : { path: rest[0] ?? '' }
    case 'api':
      return readApi(rest)
    case 'admin':
      return /^(projects|groups)$/.test(first)
        ? readPlace(flat(rest.slice(1)), { firstPage: 2, pages: true })
        : NOWHERE
    case '-':
      // The Web IDE: /-/ide/project/acme/web-shop/edit/main/-/README.md
      if (first !== 'ide' || rest[1] !== 'project') return NOWHERE
      return { path: readPlace(flat(rest.slice(2)), { firstPage: 2, pages: true }).path }
    default:
      return NOWHERE
  }
}

/** @param segments behind the base URL of the instance, decoded; one may hold slashes */
export const readHttpPath = (segments: string[], folderAt?: number | undefined): PlacePath => {
  const [first] = segments
  if (first === undefined) return NOWHERE
  if (INSTANCE_PAGES.has(first.toLowerCase())) return readInstancePage(segments)
  return readPlace(flat(segments), { firstPage: 2, folderAt, pages: true })
}

/** SSH serves repositories alone: there is no page at any name. */
export const readSshPath = (segments: string[], folderAt?: number | undefined): PlacePath =>
  readPlace(flat(segments), { firstPage: 2, folderAt, pages: false })
