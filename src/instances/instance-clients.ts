import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { InstanceRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { certificateEnd } from '../gitlab/certificates.ts'
import { createHttpClient, type GitLabClientOptions, type GitLabHttpClient } from '../gitlab/http-client.ts'
import { createNameLookups, systemLookups } from '../gitlab/name-lookup.ts'
import { createWeather, type Weather } from '../gitlab/weather.ts'

/** The id of an instance that is not stored: nobody has registered it, nor connected an account there. */
export const UNREGISTERED_ID = '00000000-0000-0000-0000-000000000000'

export type InstanceClients = {
  /** Whether there are clients for servers that nobody has registered. */
  unregistered: 'allow' | 'refuse'
  /**
   * The client for an instance as it is now; kept while its trust profile stays the same.
   * @throws {Problem} instance_not_registered where the configuration refuses servers that nobody has registered
   */
  for(
    instance: Pick<
      InstanceRow,
      'id' | 'version' | 'base_url' | 'allow_private_network' | 'ca_certificate' | 'proxy_url'
    >,
  ): GitLabHttpClient
  /** What this process knows of the weather at an instance; one for all versions of its trust profile. */
  weatherOf(instanceId: string): Weather
  close(): void
}

const KEPT_CLIENTS = 1_000
/** Addresses that nobody has registered, as somebody verifies a token there. */
const KEPT_STRANGERS = 100

/** @param unregistered whether there are clients for servers that nobody has registered; `allow` when left out. */
export const createInstanceClients = ({
  unregistered = 'allow',
  logger,
  onRefusal,
  onBan,
  ...options
}: GitLabClientOptions & {
  unregistered?: 'allow' | 'refuse'
  logger?: Logger
  /** Called for each 400, 401 and 403 that we caused at a registered instance. */
  onRefusal?: (instanceId: string) => void
  onBan?: (instanceId: string, until: Date) => void
}): InstanceClients => {
  const warnOfEnd = (instance: string, caCertificate: string | null): void => {
    const end = certificateEnd(caCertificate, new Date(options.clock()))
    if (end && end.state !== 'valid')
      logger?.warn(
        { instance, expires_at: end.expiresAt },
        'the ca_certificate of an instance ends soon, or has ended',
      )
  }
  // Never closed before the end: a refresh may be in flight, and its answer the only copy of a token. Nor strangers:
  // whoever asks many of them would cut the calls of others.
  const registered = new LRUCache<string, GitLabHttpClient>({ max: KEPT_CLIENTS })
  const strangers = new LRUCache<string, GitLabHttpClient>({ max: KEPT_STRANGERS })
  const weathers = new LRUCache<string, Weather>({ max: KEPT_CLIENTS })
  const lookups = options.lookup ? createNameLookups(options.lookup) : systemLookups
  const weatherOf = (instanceId: string): Weather => {
    const known = weathers.get(instanceId)
    if (known) return known
    const weather = createWeather({
      clock: options.clock,
      onRefusal: () => onRefusal?.(instanceId),
      onBan: (until) => onBan?.(instanceId, until),
    })
    weathers.set(instanceId, weather)
    return weather
  }
  return {
    unregistered,
    weatherOf,
    for({ id, version, base_url, allow_private_network, ca_certificate, proxy_url }) {
      if (id === UNREGISTERED_ID && unregistered === 'refuse') throw notRegistered(base_url)
      const clients = id === UNREGISTERED_ID ? strangers : registered
      const key = `${id}:${version}:${base_url}`
      const kept = clients.get(key)
      if (kept) return kept
      warnOfEnd(base_url, ca_certificate)
      const client = createHttpClient(
        {
          baseUrl: base_url,
          allowPrivateNetwork: allow_private_network,
          caCertificate: ca_certificate,
          proxyUrl: proxy_url,
        },
        // A stranger's weather is nobody else's.
        id === UNREGISTERED_ID
          ? { ...options, lookup: lookups.strangers }
          : { ...options, lookup: lookups.known, weather: weatherOf(id) },
      )
      clients.set(key, client)
      return client
    },
    close() {
      for (const client of [...registered.values(), ...strangers.values()]) client.close()
      registered.clear()
      strangers.clear()
    },
  }
}

const notRegistered = (baseUrl: string): Problem =>
  new Problem(
    'instance_not_registered',
    `${baseUrl} is not registered here, so no token is sent there. An admin can register it (POST /v1/instances).`,
  )
