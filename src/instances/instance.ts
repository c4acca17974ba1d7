import { type Static, Type } from 'typebox'
import type { InstanceRow } from '../db/tables.ts'
import { invalidField } from '../errors/problem.ts'
import { certificatesExpireAt } from '../gitlab/certificates.ts'
import { isSchemeAllowed } from '../gitlab/http-client.ts'
import { type PastedAddress, readAddress } from '../gitlab/urls/pasted-address.ts'
import { pageOf } from '../http/page.ts'
import { Id, isoTime, isoTimeOrNull, NullableText, NullableTime, Time } from '../http/schemas.ts'
import { onlyCertificates } from './ca-certificate.ts'
import { SshHosts } from './ssh-hosts.ts'

export const Instance = Type.Object(
  {
    id: Id('Id of the instance.'),
    base_url: Type.String({ description: 'Where the instance is.', examples: ['https://gitlab.com'] }),
    name: Type.String({ description: 'What people call it.', examples: ['GitLab.com'] }),
    allow_private_network: Type.Boolean({
      description: 'Whether the service may call private addresses and plain http there.',
    }),
    ca_certificate: NullableText(
      'Certificates that are trusted beside the public authorities (PEM). null: the public authorities only.',
    ),
    proxy_url: NullableText(
      'Proxy through which the service calls the instance. null: that of the environment (`HTTPS_PROXY`), if there is one.',
    ),
    ca_certificate_expires_at: NullableTime(
      'When the first of the certificates in ca_certificate ends; null: there is none',
    ),
    ssh_hosts: SshHosts,
    created_at: Time('When it was added'),
    updated_at: Time('When it was last changed'),
  },
  { $id: 'Instance', description: 'A GitLab server, and how far the service trusts it.' },
)

export const InstancePage = pageOf('InstancePage', Instance)

export const toInstance = (row: InstanceRow): Static<typeof Instance> => ({
  id: row.id,
  base_url: row.base_url,
  name: row.name,
  allow_private_network: row.allow_private_network,
  ca_certificate: row.ca_certificate && onlyCertificates(row.ca_certificate),
  proxy_url: row.proxy_url,
  ca_certificate_expires_at: isoTimeOrNull(certificatesExpireAt(row.ca_certificate)),
  ssh_hosts: row.ssh_hosts,
  created_at: isoTime(row.created_at),
  updated_at: isoTime(row.updated_at),
})

/** What the record tells of an instance. */
export const auditDetails = ({ base_url, allow_private_network, ssh_hosts, proxy_url }: InstanceRow) => ({
  base_url,
  allow_private_network,
  ssh_hosts: ssh_hosts.join(' '),
  ...(proxy_url === null ? {} : { proxy_url }),
})

/** @throws {Problem} invalid_request */
export const requireAllowedScheme = (baseUrl: string, allowPrivateNetwork: boolean): void => {
  if (!isSchemeAllowed({ baseUrl, allowPrivateNetwork, caCertificate: null })) {
    throw invalidField('base_url', 'must be https; plain http takes allow_private_network')
  }
}

/** How the tokens of GitLab begin: one that was pasted as a URL would be shown wherever the instance is named. */
const TOKEN = /gl[a-z]{2,10}-[\w-]{8,}/i

/** @throws {Problem} invalid_request */
export const requireAddress = (text: string): PastedAddress => {
  const address = readAddress(text)
  if (address === undefined || TOKEN.test(address.baseUrl))
    throw invalidField('base_url', 'is not the URL of a server, such as https://gitlab.example.com')
  return address
}
