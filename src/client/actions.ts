/** What a scanner does with a problem. */
export type Action =
  /** Ask again, after Retry-After where the answer has one. */
  | 'retry'
  /** Give this job up: asking again changes nothing. */
  | 'stop'
  /** Put the job aside and ask a person: the owner of the account, or an admin of the service. */
  | 'ask'

/** By code of the problem. docs/scanners.md shows the same table; a test holds it together with the catalogue. */
export const ACTIONS: Record<string, Action> = {
  invalid_request: 'stop',
  organization_required: 'stop',
  unauthorized: 'ask',
  forbidden: 'ask',
  not_found: 'stop',
  payload_too_large: 'stop',
  unknown_host: 'ask',
  unsupported_media_type: 'stop',
  issuer_unavailable: 'retry',
  rate_limited: 'retry',
  instance_exists: 'stop',
  instance_in_use: 'stop',
  oauth_app_exists: 'stop',
  oauth_app_in_use: 'stop',
  trusted_issuer_exists: 'stop',
  token_unknown: 'ask',
  token_expired: 'ask',
  token_revoked: 'ask',
  user_blocked: 'ask',
  missing_scopes: 'ask',
  group_out_of_reach: 'ask',
  wrong_token_kind: 'ask',
  different_identity: 'ask',
  rotation_refused: 'ask',
  dpop_required: 'ask',
  instance_not_registered: 'ask',
  not_a_gitlab: 'ask',
  tls_not_trusted: 'ask',
  address_not_allowed: 'ask',
  gitlab_unavailable: 'retry',
  no_connection_for_url: 'ask',
  needs_reauthorization: 'ask',
  connection_expired: 'ask',
  connection_revoked: 'ask',
  token_in_use: 'retry',
  sealed_answer_required: 'stop',
  no_encryption_key: 'stop',
  already_opened: 'stop',
  lease_ended: 'retry',
  handle_expired: 'retry',
  token_works: 'stop',
  not_refreshable: 'ask',
  min_ttl_unattainable: 'stop',
  oauth_app_rejected: 'ask',
  idempotency_key_reused: 'stop',
  batch_in_progress: 'retry',
  deadline_passed: 'retry',
  session_expired: 'ask',
  access_denied: 'ask',
  invalid_state: 'stop',
  callback_replayed: 'stop',
  code_refused: 'stop',
  authorization_failed: 'stop',
  internal_error: 'retry',
  database_unavailable: 'retry',
  draining: 'retry',
  not_ready: 'retry',
  overloaded: 'retry',
}

/** A code that came later than this client: what the status says. */
export const actionFor = (code: string, status: number): Action =>
  ACTIONS[code] ?? (status === 429 || status >= 500 ? 'retry' : 'stop')
