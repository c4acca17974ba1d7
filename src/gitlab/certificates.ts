import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'

/**
 * Certificates as people paste them: PEM (RFC 7468) with the text that tools write around it, several in a row, in lines
 * of any length and ending, or the base64 of DER alone. Pure.
 */

const ARMOURED = /-----BEGIN (X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END \1CERTIFICATE-----/g
const BARE_BASE64 = /^MII[A-Za-z0-9+/\s]+={0,2}\s*$/
/** Whatever may be a secret: keys in any armour, tokens, and words as long as a line of base64. */
const SECRET_SHAPES = /PRIVATE KEY|\bgl[a-z]{2,10}-[\w-]{8,}|[A-Za-z0-9+/=_-]{40,}/
const LONGEST_EXPLANATION = 20_000

export type Certificates =
  /** @property pem the certificates alone, each as Node writes it. */
  { pem: string; expiresAt: Date } | { fault: string }

/** Text of a shell, a JSON document or a YAML file, as it was before it was quoted there. */
const unquote = (text: string): string => {
  const trimmed = text.replace(/^\uFEFF/, '').trim()
  const inner = /^(["'])(.*)\1$/s.exec(trimmed)?.[2] ?? trimmed
  return inner.replace(/\\r|\r/g, '').replaceAll('\\n', '\n')
}

const parse = (base64: string): X509Certificate | undefined => {
  try {
    return new X509Certificate(Buffer.from(base64, 'base64'))
  } catch {
    return undefined
  }
}

/** Whether TLS can use them: the connection to GitLab would fail otherwise, far from who entered them. */
const areUsable = (certificates: string[]): boolean => {
  try {
    createSecureContext({ ca: certificates })
    return true
  } catch {
    return false
  }
}

const faultOf = (text: string): string | undefined => {
  if (/PRIVATE KEY/.test(text))
    return 'holds a private key. Send the certificate alone, and replace the key: it has left its server'
  if (/BEGIN CERTIFICATE REQUEST|BEGIN NEW CERTIFICATE REQUEST/.test(text))
    return 'holds a request for a certificate; send the certificate that the authority made of it'
  if (/BEGIN (PKCS7|CMS)/.test(text)) return 'is PKCS #7; convert it: openssl pkcs7 -print_certs -in FILE'
  if (/BEGIN (TRUSTED CERTIFICATE|PUBLIC KEY|PGP|OPENSSH|SSH2)|^ssh-/.test(text))
    return 'is not a certificate in PEM form'
  return undefined
}

/** @returns the certificates that the text holds, and nothing else of it; or why it holds none that can be used. */
export const readCertificates = (text: string): Certificates => {
  const plain = unquote(text)
  const fault = faultOf(plain)
  if (fault !== undefined) return { fault }
  const bodies = BARE_BASE64.test(plain)
    ? [plain]
    : [...plain.matchAll(ARMOURED)].map(([, , body = '']) => body)
  if (bodies.length === 0) return { fault: 'is not a certificate in PEM form' }
  const certificates = bodies.map(parse)
  if (!certificates.every((certificate) => certificate !== undefined))
    return { fault: 'holds a certificate that cannot be read: is it whole?' }
  const rest = BARE_BASE64.test(plain) ? '' : plain.replace(ARMOURED, '')
  if (SECRET_SHAPES.test(rest) || rest.length > LONGEST_EXPLANATION || /-----(BEGIN|END)/.test(rest))
    return { fault: 'must hold certificates in PEM form and nothing else: no key, no other text' }
  const pems = [...new Set(certificates.map(String))]
  if (!areUsable(pems)) return { fault: 'holds a certificate that cannot be read: is it whole?' }
  const ends = certificates.map(({ validTo }) => Date.parse(validTo)).filter((end) => !Number.isNaN(end))
  return { pem: pems.join(''), expiresAt: new Date(Math.min(...ends)) }
}

/**
 * Whether an intermediate or the certificate of a server is among them, which is then trusted without the root above it.
 * Not asked of OpenSSL for a root alone: with it, OpenSSL no longer tells that a server leaves its intermediate out.
 */
export const needsNoRoot = (pem: string): boolean =>
  [...pem.matchAll(ARMOURED)].some(([, , body = '']) => {
    const certificate = parse(body)
    return certificate !== undefined && certificate.subject !== certificate.issuer
  })

/** The companies of the certificates (O of their subjects). */
export const organizationsOf = (pem: string): string[] =>
  [...pem.matchAll(ARMOURED)].flatMap(([, , body = '']) => {
    const { O } = parse(body)?.toLegacyObject().subject ?? {}
    return typeof O === 'string' ? [O] : []
  })

/** As long as it takes to get a new certificate of an authority made, signed and entered. */
const ENDS_SOON_MS = 30 * 86_400_000

export type CertificateEnd = { expiresAt: Date; state: 'valid' | 'ending' | 'expired' }

/** The same, and whether somebody has to care now. */
export const certificateEnd = (pem: string | null, now: Date): CertificateEnd | null => {
  const expiresAt = certificatesExpireAt(pem)
  if (expiresAt === null) return null
  const left = expiresAt.getTime() - now.getTime()
  return { expiresAt, state: left <= 0 ? 'expired' : left <= ENDS_SOON_MS ? 'ending' : 'valid' }
}

/** When the first of the certificates ends; null when there are none that can be read. */
export const certificatesExpireAt = (pem: string | null): Date | null => {
  const read = pem === null ? undefined : readCertificates(pem)
  return read && 'pem' in read ? read.expiresAt : null
}
