import type { TlsFault } from '../errors/tls-faults.ts'

/** Pure: what an error of TLS means. */

/** Codes of Node and OpenSSL, the first that matches. */
const BY_CODE: [RegExp, TlsFault][] = [
  // One certificate alone was sent, and nobody knows who signed it.
  [/^(UNABLE_TO_VERIFY_LEAF_SIGNATURE|INTERMEDIATE_LEFT_OUT)$/, 'intermediate_missing'],
  [/^DEPTH_ZERO_SELF_SIGNED_CERT$/, 'self_signed'],
  [/^(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?|CERT_UNTRUSTED)$/, 'unknown_authority'],
  [/^CERT_HAS_EXPIRED$/, 'certificate_expired'],
  [/^CERT_NOT_YET_VALID$/, 'certificate_not_yet_valid'],
  [/^CERT_REVOKED$/, 'certificate_revoked'],
  [/^(ERR_TLS_CERT_ALTNAME_\w+|HOSTNAME_MISMATCH)$/, 'wrong_host_name'],
  [/CERTIFICATE_REQUIRED|NO_CERTIFICATE_RETURNED/, 'client_certificate_required'],
  [/UNSUPPORTED_PROTOCOL|ALERT_PROTOCOL_VERSION|VERSION_TOO_LOW|NO_PROTOCOLS_AVAILABLE/, 'tls_too_old'],
  [/DH_KEY_TOO_SMALL|LEGACY_RENEGOTIATION|LEGACY_SIGALG|NO_SHARED_CIPHER|BAD_DH_VALUE/, 'tls_too_old'],
  [/WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG|UNKNOWN_PROTOCOL/, 'no_tls'],
  [/^(UNABLE_TO_|CERT_|INVALID_|PATH_LENGTH_EXCEEDED)|(KEY_TOO_SMALL|MD_TOO_WEAK)/, 'certificate_invalid'],
  [/^(ERR_SSL_|ERR_TLS_|EPROTO)/, 'handshake_failed'],
]

/** Errors of a connection that stood already: a request may have been answered on it. */
const AFTER_HANDSHAKE = /BAD_RECORD|DECRYPTION_FAILED|UNEXPECTED_EOF|UNEXPECTED_MESSAGE|INTERNAL_ERROR/
/** OpenSSL's reason in the message of an EPROTO, which has no other code: "SSL routines:a_function:wrong version number:". */
const REASON = /SSL routines:\w*:([^:\n]+)/

/** @returns undefined when the errors have nothing to do with the handshake of TLS. */
export const tlsFaultOf = (codes: string[], messages: string[]): TlsFault | undefined => {
  const reasons = messages
    .map((message) => REASON.exec(message)?.[1])
    .filter((reason) => reason !== undefined)
    .map((reason) => reason.replaceAll(' ', '_').toUpperCase())
  const names = [...codes, ...reasons]
  if (names.some((name) => AFTER_HANDSHAKE.test(name))) return undefined
  for (const [pattern, fault] of BY_CODE) if (names.some((name) => pattern.test(name))) return fault
  return undefined
}

const GIVE_AUTHORITY = 'An admin can add the certificate of the authority to the instance (ca_certificate).'

/** Whatever the fault, no token was sent. */
const SENTENCES: Record<TlsFault, (baseUrl: string) => string> = {
  unknown_authority: (baseUrl) =>
    `The TLS certificate of ${baseUrl} is signed by an authority that is not known here. ${GIVE_AUTHORITY}`,
  intermediate_missing: (baseUrl) =>
    `${baseUrl} sends its TLS certificate without the intermediate certificate of the authority that signed it, or without one of several. The administrator of that server adds every intermediate to what the server sends; or an admin here adds the intermediate or the authority to the instance (ca_certificate).`,
  self_signed: (baseUrl) =>
    `The TLS certificate of ${baseUrl} is signed by itself. An admin can add that certificate to the instance (ca_certificate).`,
  certificate_expired: (baseUrl) =>
    `The TLS certificate of ${baseUrl}, or that of an authority that signed it, has expired. It has to be renewed on that server.`,
  certificate_not_yet_valid: (baseUrl) =>
    `The TLS certificate of ${baseUrl} is not valid yet. Is the clock right, there and here?`,
  certificate_revoked: (baseUrl) => `The TLS certificate of ${baseUrl} was revoked by its authority.`,
  wrong_host_name: (baseUrl) =>
    `The TLS certificate of ${baseUrl} is for another host name. Use the name that the certificate has.`,
  certificate_invalid: (baseUrl) =>
    `The TLS certificate of ${baseUrl}, or that of an authority that signed it, is not valid for this use.`,
  client_certificate_required: (baseUrl) =>
    `${baseUrl} asks for a client certificate, which this service does not have.`,
  tls_too_old: (baseUrl) =>
    `${baseUrl} speaks no TLS that is safe today: TLS 1.2 with strong keys is the least.`,
  no_tls: (baseUrl) => `${baseUrl} does not speak TLS there. Is it the right port, or plain http?`,
  handshake_failed: (baseUrl) => `The TLS handshake with ${baseUrl} failed.`,
}

export const tlsSentence = (fault: TlsFault, baseUrl: string): string => SENTENCES[fault](baseUrl)
