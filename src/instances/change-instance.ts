import { recordChange } from '../audit/record-change.ts'
import type { Actor } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { InstanceRow } from '../db/tables.ts'
import { notFound } from '../errors/problem.ts'
import { requireCertificates } from './ca-certificate.ts'
import { auditDetails, requireAllowedScheme } from './instance.ts'
import { canonicalProxyUrl, requireProxyUrl } from './proxy-url.ts'
import { updateInstance } from './queries.ts'
import { requireSshHosts } from './ssh-hosts.ts'

/** What is left out stays as it is. */
export type InstanceChanges = Partial<
  Pick<InstanceRow, 'name' | 'allow_private_network' | 'ca_certificate' | 'proxy_url' | 'ssh_hosts'>
>

/** @throws {Problem} invalid_request, not_found */
export const changeInstance = (
  deps: { db: Database; clock: Clock },
  id: string,
  changes: InstanceChanges,
  actor: Actor,
): Promise<InstanceRow> => {
  const checked = { ...changes }
  if (typeof changes.ca_certificate === 'string')
    checked.ca_certificate = requireCertificates(changes.ca_certificate, new Date(deps.clock()))
  if (typeof changes.proxy_url === 'string') checked.proxy_url = canonicalProxyUrl(changes.proxy_url)
  if (changes.ssh_hosts) checked.ssh_hosts = requireSshHosts(changes.ssh_hosts)
  return recordChange(deps, actor, {
    action: 'instance.updated',
    async change(transaction, now) {
      const updated = await updateInstance(transaction, id, { ...checked, updated_at: now })
      if (!updated) throw notFound('instance')
      if (updated.proxy_url !== null) requireProxyUrl(updated.proxy_url, updated.base_url)
      requireAllowedScheme(updated.base_url, updated.allow_private_network)
      return updated
    },
    details: auditDetails,
  })
}
