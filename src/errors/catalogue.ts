/**
 * Every problem that the API can answer: code -> HTTP status, title. One code has one status.
 * The same list is in openapi.yaml; a test holds the two together.
 */
export const CATALOGUE = {
  // The request itself
  invalid_request: [400, 'The request is not valid'],
  organization_required: [400, 'The organization has to be named'],
  unauthorized: [401, 'No valid access key'],
  forbidden: [403, 'The access key may not do this'],
  not_found: [404, 'Not found'],
  payload_too_large: [413, 'The request body is too large'],
  unknown_host: [421, 'The service is not known under this host name'],
  unsupported_media_type: [415, 'The request body has an unsupported media type'],
  issuer_unavailable: [503, 'The keys of a trusted issuer cannot be fetched'],
  rate_limited: [429, 'Too many requests'],

  // What is already there
  instance_exists: [409, 'This instance is already registered'],
  instance_in_use: [409, 'The instance is still in use'],
  oauth_app_exists: [409, 'An OAuth app with this slug already exists'],
  oauth_app_in_use: [409, 'The OAuth app is still in use'],
  trusted_issuer_exists: [409, 'This issuer is already trusted for this audience'],

  // What GitLab says of a token that somebody enters
  token_unknown: [422, 'GitLab does not know this token'],
  token_expired: [422, 'The token has expired'],
  token_revoked: [422, 'The token was revoked'],
  user_blocked: [422, 'The owner of the token is blocked'],
  user_deactivated: [422, 'The owner of the token is deactivated'],
  user_pending_approval: [422, 'The owner of the token waits for approval'],
  user_terms_not_accepted: [422, 'The owner of the token has not accepted the terms'],
  user_unconfirmed: [422, 'The owner of the token has not confirmed the e-mail address'],
  user_password_expired: [422, 'The password of the owner of the token has expired'],
  user_internal: [422, 'The owner of the token is an internal user of GitLab'],
  user_refused: [422, 'GitLab refuses the owner of the token'],
  sso_required: [422, 'The group requires single sign-on'],
  ip_not_allowed: [422, 'GitLab does not admit the address of this service'],
  fine_grained_required: [422, 'GitLab requires a fine-grained token'],
  missing_scopes: [422, 'The token lacks scopes'],
  clone_right_unproven: [422, 'It is not proven that the token may clone'],
  group_out_of_reach: [422, 'The token does not reach the group'],
  group_required: [422, 'The group or project has to be named'],
  wrong_token_kind: [422, 'This operation does not take this kind of token'],
  different_identity: [409, 'The token belongs to another account'],
  rotation_refused: [422, 'GitLab did not rotate the token'],
  dpop_required: [422, 'The owner of the token requires DPoP'],

  // The way to GitLab
  instance_not_registered: [422, 'This GitLab server is not registered here'],
  host_not_found: [422, 'There is no server of this name'],
  not_a_gitlab: [422, 'There is no GitLab at this address'],
  tls_not_trusted: [422, 'The TLS certificate of the GitLab server is not trusted'],
  address_not_allowed: [422, 'The address of the GitLab server is not allowed'],
  gitlab_unavailable: [503, 'GitLab cannot be reached'],
  address_banned: [503, 'GitLab has banned the address of this service for a while'],

  // Handing out tokens
  no_connection_for_url: [404, 'No connection covers this URL'],
  needs_reauthorization: [409, 'A person has to reconnect'],
  connection_expired: [409, 'The token of the connection has expired'],
  connection_revoked: [409, 'The token of the connection was revoked'],
  sync_disabled: [409, 'The reading of projects is switched off'],
  token_in_use: [409, 'The token is in use and expires too soon'],
  sealed_answer_required: [406, 'The access key takes sealed answers only'],
  no_encryption_key: [406, 'The access key has no encryption key'],
  idempotency_key_reused: [409, 'The Idempotency-Key was used for another request'],
  batch_in_progress: [409, 'The same request is being answered'],
  deadline_passed: [503, 'The token was not ready in time'],
  already_opened: [409, 'The handle was opened before'],
  lease_ended: [409, 'The lease has ended'],
  handle_expired: [410, 'The handle has ended'],
  token_works: [409, 'GitLab accepts this token'],
  not_refreshable: [409, 'The token cannot be refreshed'],
  min_ttl_unattainable: [422, 'No token of this connection lives that long'],
  oauth_app_rejected: [503, 'GitLab rejects the OAuth app'],

  // The OAuth flow in the browser
  session_expired: [410, 'The link has expired or was used'],
  access_denied: [403, 'Access was not granted'],
  invalid_state: [400, 'The answer does not belong to this browser'],
  callback_replayed: [409, 'This answer was already used'],
  code_refused: [422, 'GitLab refused the authorization code'],
  device_grant_unsupported: [422, 'This GitLab issues no codes for devices'],
  device_code_expired: [410, 'The code was not entered in time'],
  authorization_failed: [422, 'GitLab did not authorize'],

  // Ourselves
  internal_error: [500, 'Something went wrong here'],
  database_unavailable: [503, 'The database does not answer'],
  draining: [503, 'The process ends soon'],
  not_ready: [503, 'The service is not ready'],
  overloaded: [503, 'The service is overloaded'],
} as const satisfies Record<string, readonly [status: number, title: string]>

export type ProblemCode = keyof typeof CATALOGUE

export const statusOf = (code: ProblemCode): number => CATALOGUE[code][0]
export const titleOf = (code: ProblemCode): string => CATALOGUE[code][1]
