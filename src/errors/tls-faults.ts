/** What is wrong with the way in which a server shows who it is: member `tls_fault` of `tls_not_trusted`. */
export const TLS_FAULTS = [
  'unknown_authority',
  'intermediate_missing',
  'self_signed',
  'certificate_expired',
  'certificate_not_yet_valid',
  'certificate_revoked',
  'wrong_host_name',
  'certificate_invalid',
  'client_certificate_required',
  'tls_too_old',
  'no_tls',
  'handshake_failed',
] as const

export type TlsFault = (typeof TLS_FAULTS)[number]
