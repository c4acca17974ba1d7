import { type Fleet, INSTANCES, organizationName, type Place } from './fleet.ts'

/** The access keys of a fleet. All are scanners' keys. */
export type BenchKey = {
  key: string
  organizations: string[]
  urlPrefixes?: string[]
  /** Numbers of connections. */
  connections?: number[]
}

/**
 * - every: one key for all organizations; its lookups name one.
 * - one: a key for one organization; its lookups name none.
 * - several: a key for some organizations; its lookups name one.
 * - connections: a key for one organization, limited to some of its connections.
 * - prefixes: a key for one organization, limited to URL prefixes.
 */
export type KeyKind = 'every' | 'one' | 'several' | 'connections' | 'prefixes'

export const EVERY_KEY = 'FAKE-bench-scanner-key-0123456789-0123456789'

/** The broker remembers 10,000 keys: organizations past these are scanned with the key for all. */
const MOST_ONE_KEYS = 5_000
const MOST_SEVERAL_KEYS = 300
const CONNECTIONS_PER_KEY = 40
const GROUPS_PER_KEY = 3

const nameOf = (kind: KeyKind, number: number) => `FAKE-bench-key-${kind}-${number}-0123456789-0123456789`

export const hasOwnKey = (organization: number): boolean => organization < MOST_ONE_KEYS
const severalKeysOf = (fleet: Fleet) =>
  Math.max(1, Math.min(MOST_SEVERAL_KEYS, Math.floor(fleet.organizations / 10)))
const isLimitedToConnections = (organization: number) => hasOwnKey(organization) && organization % 10 === 5
const isLimitedToPrefixes = (organization: number) => hasOwnKey(organization) && organization % 10 > 7

/** The key of a kind for an organization. */
export const keyOf = (fleet: Fleet, kind: KeyKind, organization: number): string => {
  if (kind === 'every' || (kind === 'one' && !hasOwnKey(organization))) return EVERY_KEY
  return nameOf(kind, kind === 'several' ? organization % severalKeysOf(fleet) : organization)
}

const topGroupOf = ({ group }: Place) => group.split('/')[0]!

/** Whether the limited key of the organization may use this connection. */
export const isWithin = (fleet: Fleet, kind: 'connections' | 'prefixes', connection: number): boolean => {
  const place = fleet.placeOf(connection)
  if (kind === 'connections')
    return isLimitedToConnections(place.organization) && fleet.indexOf(connection) < CONNECTIONS_PER_KEY
  return (
    isLimitedToPrefixes(place.organization) &&
    place.group !== '' &&
    fleet.indexOf(connection) < GROUPS_PER_KEY * 8
  )
}

const prefixesOf = (fleet: Fleet, organization: number): string[] => {
  const { from, to } = fleet.connectionsOf(organization)
  const prefixes = new Set<string>()
  for (let connection = from; connection < to; connection += 1) {
    const place = fleet.placeOf(connection)
    if (isWithin(fleet, 'prefixes', connection))
      prefixes.add(`${INSTANCES[place.instance]}/${topGroupOf(place)}`)
  }
  return [...prefixes]
}

const limitedKeysOf = (fleet: Fleet, organization: number): BenchKey[] => {
  const organizations = [organizationName(organization)]
  const keys: BenchKey[] = []
  if (isLimitedToConnections(organization)) {
    const { from, to } = fleet.connectionsOf(organization)
    const length = Math.min(to - from, CONNECTIONS_PER_KEY)
    const connections = Array.from({ length }, (_, index) => from + index)
    keys.push({ key: nameOf('connections', organization), organizations, connections })
  }
  if (isLimitedToPrefixes(organization)) {
    const urlPrefixes = prefixesOf(fleet, organization)
    if (urlPrefixes.length > 0)
      keys.push({ key: nameOf('prefixes', organization), organizations, urlPrefixes })
  }
  return keys
}

export const keysOf = (fleet: Fleet): BenchKey[] => {
  const keys: BenchKey[] = [{ key: EVERY_KEY, organizations: ['*'] }]
  const several = severalKeysOf(fleet)
  const shared: string[][] = Array.from({ length: several }, () => [])
  for (let organization = 0; organization < fleet.organizations; organization += 1) {
    shared[organization % several]!.push(organizationName(organization))
    if (hasOwnKey(organization))
      keys.push({ key: nameOf('one', organization), organizations: [organizationName(organization)] })
    keys.push(...limitedKeysOf(fleet, organization))
  }
  for (const [number, organizations] of shared.entries())
    keys.push({ key: nameOf('several', number), organizations })
  return keys
}
