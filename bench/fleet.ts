import { createScramble } from './random.ts'

/**
 * Which connections there are, as a pure function of their number: the same fleet on every machine.
 *
 * - 33.6 connections an organization on average. One organization has a twentieth of all, and the least have a dozen.
 * - Groups are nested: of eight connections one is for a group of the first level, five are for a group below it, two
 *   are two levels below. One in 126 has no group, one in 50 has the same group as the one before.
 * - Of 100 groups of the first level 84 are on gitlab.com, 8 on a GitLab of its own host, 8 on one under a path.
 */

export const INSTANCES = {
  gitlab_com: 'https://gitlab.com',
  own_host: 'https://git.example.com',
  under_path: 'https://code.example.com/gitlab',
} as const
export type InstanceName = keyof typeof INSTANCES

export type Place = { organization: number; instance: InstanceName; group: string }

export type Fleet = {
  connections: number
  organizations: number
  placeOf(connection: number): Place
  /** The number of a connection within its organization. */
  indexOf(connection: number): number
  connectionsOf(organization: number): { from: number; to: number }
}

const CONNECTIONS_PER_ORGANIZATION = 33.6
const LARGEST_SHARE = 0.05
/** Sizes fall with this power of the rank. */
const SKEW = 0.8
const LEVELLED_RANKS = 10

export const organizationName = (organization: number): string => `org-${organization}`

const startsOf = (connections: number, organizations: number): Uint32Array => {
  const weights = Array.from({ length: organizations }, (_, rank) => (rank + LEVELLED_RANKS) ** -SKEW)
  const rest = weights.slice(1).reduce((sum, weight) => sum + weight, 0)
  const starts = new Uint32Array(organizations + 1)
  let share = organizations === 1 ? 1 : LARGEST_SHARE
  for (let rank = 1; rank <= organizations; rank += 1) {
    starts[rank] = Math.round(share * connections)
    share += ((1 - LARGEST_SHARE) * (weights[rank] ?? 0)) / rest
  }
  return starts
}

const instanceOf = (organization: number, top: number): InstanceName => {
  const drawn = (organization * 37 + top * 61) % 100
  if (drawn < 8) return 'under_path'
  return drawn < 16 ? 'own_host' : 'gitlab_com'
}

export const createFleet = (connections: number): Fleet => {
  const organizations = Math.max(1, Math.round(connections / CONNECTIONS_PER_ORGANIZATION))
  const starts = startsOf(connections, organizations)
  const owners = new Uint32Array(connections)
  for (let organization = 0; organization < organizations; organization += 1)
    owners.fill(organization, starts[organization], starts[organization + 1])

  const indexOf = (connection: number) => connection - starts[owners[connection]!]!

  const placeOf = (connection: number): Place => {
    const organization = owners[connection]!
    const index = indexOf(connection)
    if (connection % 50 === 7 && index > 0) return placeOf(connection - 1)
    const top = Math.floor(index / 8)
    const instance = instanceOf(organization, top)
    if (connection % 126 === 0) return { organization, instance, group: '' }
    const group = `o${organization}-${top}`
    const step = index % 8
    if (step === 0) return { organization, instance, group }
    return {
      organization,
      instance,
      group: step < 6 ? `${group}/team-${step}` : `${group}/team-1/squad-${step}`,
    }
  }

  return {
    connections,
    organizations,
    placeOf,
    indexOf,
    connectionsOf: (organization) => ({ from: starts[organization]!, to: starts[organization + 1]! }),
  }
}

export type Repository = { connection: number; baseUrl: string; path: string }

/** A repository that a connection covers; half of them lie one group deeper than the connection. */
export const repositoryOf = (fleet: Fleet, connection: number, number: number): Repository => {
  const { instance, group } = fleet.placeOf(connection)
  const below = group === '' ? `solo-${connection}` : group
  const deeper = number % 2 === 0 ? '' : '/apps'
  return { connection, baseUrl: INSTANCES[instance], path: `${below}${deeper}/repository-${number}` }
}

/** How repositories, by popularity, are spread over some of the connections. */
export const spreadOver = (connections: Uint32Array): ((rank: number) => number) => {
  const scramble = createScramble(connections.length)
  return (rank) => connections[scramble(rank)]!
}
