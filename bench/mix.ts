import { type Fleet, organizationName, type Repository, repositoryOf, spreadOver } from './fleet.ts'
import { EVERY_KEY, isWithin, type KeyKind, keyOf } from './keys.ts'
import { createRandom, createZipf } from './random.ts'

/** The realistic mix (m): lookups by URL as a platform of many tenants sends them, the same for the same seed. */

export type UrlKind = 'https' | 'ssh' | 'under_path' | 'refresh'
export type Lookup = {
  path: string
  key: string
  keyKind: KeyKind
  urlKind: UrlKind
  organization: number
  host: string
}

/** Shares of all lookups. */
export const SHARES = { refresh: 0.01, ssh: 0.06, under_path: 0.06 } as const
/** Shares of the lookups that may have any key. */
const KEY_SHARES: [KeyKind, number][] = [
  ['every', 0.3],
  ['one', 0.4],
  ['several', 0.15],
  ['connections', 0.075],
  ['prefixes', 0.075],
]
const REPOSITORIES_PER_CONNECTION = 300_000 / 100_800

/** A connection whose token is out, at a GitLab that answers: its lookup has to refresh. */
export type EndedConnection = { url: string; organization: string }

const drawKeyKind = (drawn: number): KeyKind => {
  let sum = 0
  for (const [kind, share] of KEY_SHARES) {
    sum += share
    if (drawn < sum) return kind
  }
  return 'every'
}

const hostOf = (baseUrl: string) => new URL(baseUrl).host

const urlOf = ({ baseUrl, path }: Repository, kind: UrlKind, number: number): string => {
  if (kind !== 'ssh') return `${baseUrl}/${path}${number % 3 === 0 ? '.git' : ''}`
  return number % 2 === 0
    ? `git@${hostOf(baseUrl)}:${path}.git`
    : `ssh://git@${hostOf(baseUrl)}:22/${path}.git`
}

/** Lookups name the organization where their key does not say it. */
export const lookupPath = (url: string, organization: string | undefined): string =>
  `/v1/credentials?${organization === undefined ? '' : `organization=${organization}&`}url=${encodeURIComponent(url)}`

const stratumOf = (fleet: Fleet, isIn: (connection: number) => boolean) =>
  spreadOver(Uint32Array.from({ length: fleet.connections }, (_, connection) => connection).filter(isIn))

export const createMix = (fleet: Fleet, ended: EndedConnection[], seed: number): (() => Lookup) => {
  const random = createRandom(seed)
  const drawRank = createZipf(Math.round(fleet.connections * REPOSITORIES_PER_CONNECTION), random)
  const isUnderPath = (connection: number) => fleet.placeOf(connection).instance === 'under_path'
  const underPath = stratumOf(fleet, isUnderPath)
  const elsewhere = stratumOf(fleet, (connection) => !isUnderPath(connection))
  const within = (kind: 'connections' | 'prefixes') =>
    stratumOf(fleet, (connection) => !isUnderPath(connection) && isWithin(fleet, kind, connection))
  const limited = { connections: within('connections'), prefixes: within('prefixes') }
  let turn = 0

  const drawEnded = (): Lookup => {
    const { url, organization } = ended[turn % ended.length]!
    turn += 1
    return {
      path: lookupPath(url, organization),
      key: EVERY_KEY,
      keyKind: 'every',
      urlKind: 'refresh',
      organization: Number(organization.slice(organization.lastIndexOf('-') + 1)),
      host: hostOf(url),
    }
  }

  return () => {
    let drawn = random()
    if (ended.length > 0 && drawn < SHARES.refresh) return drawEnded()
    drawn = random()
    let urlKind: UrlKind = drawn < SHARES.ssh ? 'ssh' : 'https'
    if (drawn >= SHARES.ssh && drawn < SHARES.ssh + SHARES.under_path) urlKind = 'under_path'
    let keyKind = drawKeyKind(random())
    const rank = drawRank()
    let pick = urlKind === 'under_path' ? underPath : elsewhere
    if (keyKind === 'connections' || keyKind === 'prefixes') {
      if (urlKind === 'under_path') keyKind = 'one'
      else pick = limited[keyKind]
    }
    const connection = pick(rank)
    const { organization } = fleet.placeOf(connection)
    const key = keyOf(fleet, keyKind, organization)
    const named = key === EVERY_KEY || keyKind === 'several' ? organizationName(organization) : undefined
    const repository = repositoryOf(fleet, connection, rank)
    const path = lookupPath(urlOf(repository, urlKind, rank), named)
    return { path, key, keyKind, urlKind, organization, host: hostOf(repository.baseUrl) }
  }
}

/** So many draws have all but a few keys and organizations of the fleet of (m) in them. */
const FIRST_DRAWS = 300_000

/** Of the first draws of the mix, the first with each access key and the first at each organization on each host. */
export const firstLookupsOf = (fleet: Fleet, seed: number): Lookup[] => {
  const draw = createMix(fleet, [], seed)
  const seen = new Set<string>()
  const firsts: Lookup[] = []
  for (let drawn = 0; drawn < FIRST_DRAWS; drawn += 1) {
    const lookup = draw()
    const names = [lookup.key, `${lookup.organization} ${lookup.host}`]
    if (names.some((name) => !seen.has(name))) firsts.push(lookup)
    for (const name of names) seen.add(name)
  }
  return firsts
}

/** A URL below the place of each connection in turn, asked for with the key for all: (d). */
export const lookupOfConnection = (fleet: Fleet, connection: number): string => {
  const { baseUrl, path } = repositoryOf(fleet, connection, 0)
  return lookupPath(`${baseUrl}/${path}`, organizationName(fleet.placeOf(connection).organization))
}
