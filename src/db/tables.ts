import type { Generated, Insertable, Selectable } from 'kysely'

export type Role = 'admin' | 'manager' | 'scanner'
export type Method = 'oauth' | 'token'
export type TokenKind =
  | 'oauth_access_token'
  | 'personal_access_token'
  | 'group_access_token'
  | 'project_access_token'
export type ConnectionStatus = 'active' | 'needs_reauthorization' | 'revoked' | 'expired'
export type AuditOutcome = 'success' | 'refused' | 'failed'
export type AttemptKind = 'refresh' | 'rotate' | 'disconnect'

type Instances = {
  id: string
  base_url: string
  name: string
  allow_private_network: boolean
  ca_certificate: string | null
  /** Counts up with every change; names a client in the caches of a process. */
  version: number
  created_at: Date
  updated_at: Date
}

type OAuthApps = {
  id: string
  slug: string
  instance_id: string
  client_id: string
  /** JWE, bound to id and version. */
  client_secret: string
  scopes: string[]
  version: number
  created_at: Date
  updated_at: Date
}

type AccessKeys = {
  id: string
  name: string
  role: Role
  organizations: string[]
  /** SHA-256 of the key; the key itself is stored nowhere. */
  key_sha256: Buffer
  created_at: Date
  expires_at: Date | null
}

type ConnectSessions = {
  id: string
  token_sha256: Buffer
  organization: string
  return_url: string | null
  methods: string[]
  access_key_id: string
  created_at: Date
  expires_at: Date
  used_at: Date | null
}

type AuthorizationRequests = {
  id: string
  connect_session_id: string
  oauth_app_id: string
  created_at: Date
  expires_at: Date
  consumed_at: Date | null
  /** What GitLab issued, sealed and saved before anything else is asked of it; null again once a connection has it. */
  grant_jwe: string | null
  granted_at: Date | null
}

type Connections = {
  id: string
  organization: string
  instance_id: string
  method: Method
  token_kind: TokenKind
  name: string | null
  /** Full path of the group (or project) that the connection is limited to; '' = everything on the instance. */
  group_path: string
  gitlab_user_id: string
  gitlab_username: string | null
  gitlab_name: string | null
  oauth_app_id: string | null
  auto_rotate: boolean
  status: ConnectionStatus
  status_reason: string | null
  status_detail: string | null
  scopes: string[]
  token_version: number
  /** JWE, bound to connection, token_version and use; so is refresh_token. */
  access_token: string
  refresh_token: string | null
  token_issued_at: Date
  token_expires_at: Date | null
  /** The claim of the one writer: whoever holds attempt_id may save a result until attempt_deadline. */
  attempt_id: string | null
  attempt_kind: AttemptKind | null
  attempt_deadline: Date | null
  /** Written before the request leaves: set = GitLab may have acted. */
  attempt_sent_at: Date | null
  /** No refresh is sent before this time. */
  retry_after: Date | null
  /** Since when a request that GitLab may have acted on has no answer: the current token may be dead. */
  unanswered_since: Date | null
  /** Since when GitLab refuses the refresh token (invalid_grant). */
  refused_since: Date | null
  failing_since: Date | null
  failure_count: number
  failure_code: string | null
  failure_detail: string | null
  last_verified_at: Date | null
  created_at: Date
  updated_at: Date
}

type Leases = {
  id: string
  connection_id: string
  organization: string
  token_version: number
  access_key_id: string
  purpose: string | null
  granted_at: Date
  expires_at: Date
  released_at: Date | null
  rejected_at: Date | null
}

type AuditEvents = {
  id: string
  at: Date
  access_key_id: string | null
  organization: string | null
  action: string
  subject_id: string | null
  request_id: string | null
  details: string
  /** From where it came: the address of the client. */
  address: string | null
  outcome: Generated<AuditOutcome>
  /** HMAC-SHA-256 of the token that the act concerns (vault/named-keys.ts), in hex. */
  token_hash: string | null
}

/** Filled by a trigger; src/audit/seals empties it. */
type AuditUnsealed = {
  event_id: string
  queued_at: Generated<Date>
}

type AuditSeals = {
  id: string
  at: Date
  first_event: string | null
  last_event: string | null
  event_count: number
  events: string[]
  /** SHA-256 of each event, in the order of `events`, in hex. */
  event_hashes: string[]
  /** The beginning of the hour whose leases it covers. */
  lease_hour: Date | null
  lease_count: string | null
  lease_sha256: string | null
  previous_sha256: string
  sha256: string
  /** HMAC-SHA-256 of sha256, in hex. */
  mac: string
}

type DataKeys = {
  id: string
  /** The data key, wrapped by the master key: JWE with alg A256GCMKW. */
  wrapped_key: string
  created_at: Date
  retired_at: Date | null
}

/** Kept by src/leases/record: which leases an access key got of an organization in ten minutes. */
type LeaseSlots = {
  organization: string
  slot: Date
  access_key_id: string
  first_id: string
  last_id: string
  granted_from: Date
  granted_to: Date
}

type SigningKeys = {
  id: string
  purpose: string
  /** JWE of the key as a JWK, bound to the id. */
  key_jwe: string
  public_jwk: unknown
  created_at: Date
  retired_at: Date | null
}

/** Kept by triggers (migrations/0003_match_versions.ts). */
type MatchVersions = {
  scope: string
  version: string
}

export type Tables = {
  instances: Instances
  oauth_apps: OAuthApps
  access_keys: AccessKeys
  connect_sessions: ConnectSessions
  authorization_requests: AuthorizationRequests
  connections: Connections
  leases: Leases
  lease_slots: LeaseSlots
  audit_events: AuditEvents
  audit_unsealed: AuditUnsealed
  audit_seals: AuditSeals
  data_keys: DataKeys
  signing_keys: SigningKeys
  match_versions: MatchVersions
}

export type InstanceRow = Selectable<Instances>
export type OAuthAppRow = Selectable<OAuthApps>
export type AccessKeyRow = Selectable<AccessKeys>
export type ConnectSessionRow = Selectable<ConnectSessions>
export type AuthorizationRequestRow = Selectable<AuthorizationRequests>
export type ConnectionRow = Selectable<Connections>
export type NewConnectionRow = Insertable<Connections>
export type LeaseTableRow = Selectable<Leases>
export type AuditSealRow = Selectable<AuditSeals>
export type DataKeyRow = Selectable<DataKeys>
export type SigningKeyRow = Selectable<SigningKeys>
