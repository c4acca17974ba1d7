import { v7 as uuidv7 } from 'uuid'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { InstanceRow } from '../db/tables.ts'
import { type Reading, readingsAt, sshNamesOf } from '../gitlab/repository-url.ts'
import { type PastedAddress, readAddress } from '../gitlab/urls/pasted-address.ts'
import { requireAddress } from './instance.ts'
import { UNREGISTERED_ID } from './instance-clients.ts'
import { findInstanceByBaseUrl, findInstancesOfHost, insertInstanceIfAbsent } from './queries.ts'

export const DEFAULT_BASE_URL = 'https://gitlab.com'

/** What an address leads to. */
export type Addressed = {
  instance: InstanceRow
  /** The group or project that the address names; undefined = none. */
  group: string | undefined
}

/**
 * The instance at an address as people paste it: the registered one with the longest base URL that the address begins
 * with. One that no admin has registered is not stored yet and gets the strictest trust profile: https with a publicly
 * trusted certificate, on a public address.
 * @throws {Problem} invalid_request
 */
export const resolveAddress = async (
  db: Database,
  text: string | undefined,
  clock: Clock,
): Promise<Addressed> => {
  const address = requireAddress(text ?? DEFAULT_BASE_URL)
  const registered = await findRegistered(db, address)
  if (registered) return registered
  const now = new Date(clock())
  const instance = {
    id: UNREGISTERED_ID,
    base_url: address.baseUrl,
    name: new URL(address.baseUrl).host,
    allow_private_network: false,
    ca_certificate: null,
    ssh_hosts: [],
    proxy_url: null,
    version: 0,
    created_at: now,
    updated_at: now,
  }
  return { instance, group: address.resource && groupOn(instance, address.resource) }
}

const groupOn = (instance: InstanceRow, resource: NonNullable<PastedAddress['resource']>) =>
  groupOf(readingsAt(resource, [instance])[0])

const groupOf = (reading: Reading | undefined): string | undefined => reading?.path || undefined

/** The registered instance to which an address leads. undefined = none does. */
export const findRegistered = async (
  db: Database,
  { resource, baseUrl }: PastedAddress,
): Promise<Addressed | undefined> => {
  if (resource === undefined) {
    const instance = await findInstanceByBaseUrl(db, baseUrl)
    return instance && { instance, group: undefined }
  }
  const instances = await findInstancesOfHost(db, resource.hostname, sshNamesOf(resource))
  const [reading] = readingsAt(resource, instances)
  const instance = instances.find(({ base_url }) => base_url === reading?.baseUrl)
  return instance && { instance, group: groupOf(reading) }
}

/** The base URL to which an address leads, for a filter: what is no address leads to nothing that is stored. */
export const baseUrlAt = async (db: Database, text: string): Promise<string> => {
  const address = readAddress(text)
  if (address === undefined) return text
  return (await findRegistered(db, address))?.instance.base_url ?? address.baseUrl
}

/** Stores an instance that resolveAddress made up, now that a GitLab answered there. */
export const ensureStored = (db: Database, instance: InstanceRow): Promise<InstanceRow> =>
  instance.id === UNREGISTERED_ID
    ? insertInstanceIfAbsent(db, { ...instance, id: uuidv7() })
    : Promise.resolve(instance)
