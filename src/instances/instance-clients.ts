import { LRUCache } from 'lru-cache'
import type { InstanceRow } from '../db/tables.ts'
import { createHttpClient, type GitLabClientOptions, type GitLabHttpClient } from '../gitlab/http-client.ts'

export type InstanceClients = {
  /** The client for an instance as it is now; kept while its trust profile stays the same. */
  for(
    instance: Pick<InstanceRow, 'id' | 'version' | 'base_url' | 'allow_private_network' | 'ca_certificate'>,
  ): GitLabHttpClient
  close(): void
}

const KEPT_CLIENTS = 500

export const createInstanceClients = (options: GitLabClientOptions): InstanceClients => {
  const clients = new LRUCache<string, GitLabHttpClient>({
    max: KEPT_CLIENTS,
    dispose: (client) => client.close(),
  })
  return {
    for({ id, version, base_url, allow_private_network, ca_certificate }) {
      const key = `${id}:${version}:${base_url}`
      const kept = clients.get(key)
      if (kept) return kept
      const client = createHttpClient(
        {
          baseUrl: base_url,
          allowPrivateNetwork: allow_private_network,
          caCertificate: ca_certificate,
        },
        options,
      )
      clients.set(key, client)
      return client
    },
    close: () => clients.clear(),
  }
}
