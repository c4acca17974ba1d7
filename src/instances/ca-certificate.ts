import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { invalidField } from '../errors/problem.ts'

/** A certificate in PEM (RFC 7468); explanatory text around it is not part of it. */
const CERTIFICATE = /-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g

/** Whether TLS can use them: the connection to GitLab would fail otherwise, far from who entered them. */
const areUsable = (certificates: string[]): boolean => {
  try {
    for (const certificate of certificates) new X509Certificate(certificate)
    createSecureContext({ ca: certificates })
    return true
  } catch {
    return false
  }
}

/**
 * One certificate or more, and nothing else: a private key or a token beside them would be stored and shown. Never says
 * what else there is.
 * @throws {Problem} invalid_request
 */
export const requireCertificates = (pem: string | null | undefined): void => {
  if (pem === null || pem === undefined) return
  const certificates = pem.match(CERTIFICATE) ?? []
  const rest = pem.replace(CERTIFICATE, '').trim()
  if (certificates.length === 0) throw invalidField('ca_certificate', 'is not a certificate in PEM form')
  if (rest !== '')
    throw invalidField(
      'ca_certificate',
      'must hold certificates in PEM form and nothing else: no key, no other text',
    )
  if (!areUsable(certificates))
    throw invalidField('ca_certificate', 'holds a certificate that cannot be read')
}

/** What may be shown of a text that was stored before it was checked like this. */
export const onlyCertificates = (pem: string): string | null =>
  pem.replace(CERTIFICATE, '').trim() === '' ? pem : (pem.match(CERTIFICATE)?.join('\n') ?? null)
