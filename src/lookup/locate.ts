import { LRUCache } from 'lru-cache'
import { mayAskAt, type Principal } from '../callers/principal.ts'
import { coalesce } from '../coalesce.ts'
import type { RunPrepared } from '../db/database.ts'
import { invalidField } from '../errors/problem.ts'
import { coveringPaths, parseResourceUrl, type Reading, type ResourceUrl, readingsAt } from '../gitlab/repository-url.ts'
import { findInstancesOfHost } from './queries.ts'

/** Where a URL lies: on which instances, and which paths cover it there, the longest first. */
export type Located = {
  /** Of the instances, when they were read. */
  version: number
  places: { instanceId: string; reading: Reading; paths: string[] }[]
}

export type Locator = {
  /** From memory where the instances of the host are known. They may be out of date, as a directory may be. */
  locate(resource: ResourceUrl): Promise<Located>
  /** Asks the database. */
  locateNow(resource: ResourceUrl): Promise<Located>
}

/** Hosts that scanners name; few bytes each. */
const KEPT_HOSTS = 1_000
/** Some megabyte. What lives long costs a full collection of garbage. */
const KEPT_URLS = 1_000

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

const placesOf = (resource: ResourceUrl, { version, instances }: Host): Located => {
  const idOf = new Map(instances.map(({ id, base_url }) => [base_url, id]))
  const places = readingsAt(resource, instances).map((reading) => ({
    instanceId: idOf.get(reading.baseUrl)!,
    reading,
    paths: coveringPaths(reading),
  }))
  return { version, places }
}

/** What lies outside a key's URL prefixes does not exist for it. */
export const withinPrefixes = (principal: Principal, { version, places }: Located): Located =>
  principal.restrictions.urlPrefixes === undefined
    ? { version, places }
    : { version, places: places.filter(({ reading }) => mayAskAt(principal, reading)) }

export const createLocator = ({ runPrepared }: { runPrepared: RunPrepared }): Locator => {
  const hosts = new LRUCache<string, Host>({ max: KEPT_HOSTS })
  const nameOf = ({ transport, hostname, port }: ResourceUrl) => `${transport} ${hostname} ${port ?? ''}`
  const load = coalesce(
    async (resource: ResourceUrl) => {
      const host = await findInstancesOfHost(runPrepared, resource)
      hosts.set(nameOf(resource), host)
      return host
    },
    nameOf,
  )
  return {
    locate: async (resource) => placesOf(resource, hosts.get(nameOf(resource)) ?? (await load(resource))),
    locateNow: async (resource) => placesOf(resource, await load(resource)),
  }
}
