import { v7 as uuidv7 } from 'uuid'
import { recordChange } from '../audit/record-change.ts'
import type { Actor } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { isUniqueViolation } from '../db/sqlstate.ts'
import type { InstanceRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { requireCertificates } from './ca-certificate.ts'
import { auditDetails, requireAddress, requireAllowedScheme } from './instance.ts'
import { requireProxyUrl } from './proxy-url.ts'
import { insertInstance } from './queries.ts'
import { requireSshHosts } from './ssh-hosts.ts'

export type NewInstance = {
  base_url: string
  name?: string
  allow_private_network?: boolean
  ca_certificate?: string | null
  proxy_url?: string | null
  ssh_hosts?: string[]
}

/** @throws {Problem} invalid_request, instance_exists */
export const createInstance = (
  deps: { db: Database; clock: Clock },
  {
    base_url,
    name,
    allow_private_network = false,
    ca_certificate: written = null,
    proxy_url = null,
    ssh_hosts = [],
  }: NewInstance,
  actor: Actor,
): Promise<InstanceRow> => {
  const { baseUrl } = requireAddress(base_url)
  requireAllowedScheme(baseUrl, allow_private_network)
  const ca_certificate = written === null ? null : requireCertificates(written, new Date(deps.clock()))
  const sshHosts = requireSshHosts(ssh_hosts)
  return recordChange(deps, actor, {
    action: 'instance.created',
    change: (transaction, now) =>
      insertInstance(transaction, {
        id: uuidv7(),
        base_url: baseUrl,
        name: name ?? new URL(baseUrl).host,
        allow_private_network,
        ca_certificate,
        proxy_url: proxy_url && requireProxyUrl(proxy_url, baseUrl),
        ssh_hosts: sshHosts,
        created_at: now,
        updated_at: now,
      }),
    details: auditDetails,
    conflict: {
      when: isUniqueViolation,
      problem: () => new Problem('instance_exists', `${baseUrl} is already registered.`),
    },
  })
}
