import { LRUCache } from 'lru-cache'
import { mayAskAt, type Principal } from '../callers/principal.ts'
import type { RunPrepared } from '../db/database.ts'
import { invalidField } from '../errors/problem.ts'
import {
  coveringPaths,
  nearReadings,
  parseResourceUrl,
  type Reading,
  type ResourceUrl,
  readingsAt,
  readingWithin,
} from '../gitlab/repository-url.ts'
import { findInstancesOfHost } from './queries.ts'

/** Where a URL lies: on which instances, and which paths cover it there, the longest first. */
export type Located = {
  /** Of the instances, when they were read. */
  version: number
  places: {
    instanceId: string
    reading: Reading
    paths: string[]
    /** Path of the project that the URL may name, in lower case; '' = it names none. One for each instance. */
    project: string
  }[]
}

export type Locator = {
  /** From memory where the instances of the host are known. They may be out of date, as a directory may be. */
  locate(resource: ResourceUrl): Promise<Located>
  /** Asks the database. */
  locateNow(resource: ResourceUrl): Promise<Located>
  /** Where an http(s) URL would lie if its scheme or port were another: for a hint. Asks the database. */
  locateNear(resource: ResourceUrl): Promise<Located>
}

/** Hosts that scanners name; few bytes each. */
const KEPT_HOSTS = 1_000

/** @throws {Problem} invalid_request when it is no URL of a repository or group */
export const readUrl = (url: string): ResourceUrl => {
  const resource = parseResourceUrl(url)
  if (!resource) {
    throw invalidField(
      'url',
      'is not the URL of a repository or group (https://host/group/project, git@host:group/project.git)',
    )
  }
  return resource
}

type Host = Awaited<ReturnType<typeof findInstancesOfHost>>
type ReadAt = (resource: ResourceUrl, instances: Host['instances']) => Reading[]

const placesOf = (
  resource: ResourceUrl,
  { version, instances }: Host,
  read: ReadAt = readingsAt,
): Located => {
  const idOf = new Map(instances.map(({ id, base_url }) => [base_url, id]))
  const places = read(resource, instances).map((reading) => ({
    instanceId: idOf.get(reading.baseUrl)!,
    reading,
    paths: coveringPaths(reading),
    project: '',
  }))
  for (const place of places) {
    // SSH may lead to one instance under two paths: the first is the one without the instance's own.
    const { reading } = places.find(({ instanceId }) => instanceId === place.instanceId) ?? place
    place.project = projectOf(reading)
  }
  return { version, places }
}

/** A project lies below a group. */
const projectOf = ({ path }: Reading): string => (path.includes('/') ? path.toLowerCase() : '')

/** What lies outside a key's URL prefixes does not exist for it. */
export const withinPrefixes = (principal: Principal, { version, places }: Located): Located => {
  const { urlPrefixes } = principal.restrictions
  if (urlPrefixes === undefined) return { version, places }
  const within = places.filter(({ reading }) => mayAskAt(principal, reading))
  return {
    version,
    places: within.map((place) => {
      const reading = readingWithin(place.reading, urlPrefixes)
      return reading === place.reading ? place : { ...place, reading, paths: coveringPaths(reading) }
    }),
  }
}

export const createLocator = ({ runPrepared }: { runPrepared: RunPrepared }): Locator => {
  const hosts = new LRUCache<string, Host>({ max: KEPT_HOSTS })
  const nameOf = ({ transport, hostname, port }: ResourceUrl) => `${transport} ${hostname} ${port ?? ''}`
  const load = async (resource: ResourceUrl): Promise<Host> => {
    const host = await findInstancesOfHost(runPrepared, resource)
    hosts.set(nameOf(resource), host)
    return host
  }
  return {
    locate: async (resource) => placesOf(resource, hosts.get(nameOf(resource)) ?? (await load(resource))),
    locateNow: async (resource) => placesOf(resource, await load(resource)),
    locateNear: async (resource) => placesOf(resource, await load(resource), nearReadings),
  }
}
