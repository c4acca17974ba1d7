import { invalidField } from '../errors/problem.ts'
import { readCertificates } from '../gitlab/certificates.ts'

/**
 * The certificates that the field holds, and nothing else of what was sent: a private key or a token beside them would
 * be stored and shown.
 * @throws {Problem} invalid_request; the message never repeats what was sent
 */
export const requireCertificates = (text: string, now: Date): string => {
  const read = readCertificates(text)
  if ('fault' in read) throw invalidField('ca_certificate', read.fault)
  if (read.expiresAt <= now)
    throw invalidField('ca_certificate', `holds a certificate that expired ${read.expiresAt.toISOString()}`)
  return read.pem
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g

/** What may be shown of a text that was stored before it was checked like this. */
export const onlyCertificates = (pem: string): string | null =>
  pem.replace(CERTIFICATE, '').trim() === '' ? pem : (pem.match(CERTIFICATE)?.join('\n') ?? null)
