import type { ColumnType, Generated, Insertable, Selectable } from 'kysely'
import type { Guesses } from './counter-tables.ts'
import type { DatabaseHistory, Heartbeats } from './history-tables.ts'
import type { LeaseBatches, WrappedLeases } from './lease-tables.ts'
import type { ConnectionPlaces, DirectoryVersions, ReachProofs } from './lookup-tables.ts'
import type {
  ConnectionGroups,
  ConnectionProjectPaths,
  ConnectionProjects,
  ConnectionSyncs,
} from './project-tables.ts'
import type { AuditEvents, AuditSeals, AuditUnsealed, LeaseSlots } from './record-tables.ts'
import type { IncidentsTable, InstanceBans, InstanceRefusals } from './weather-tables.ts'

export type Role = 'admin' | 'manager' | 'scanner'
export type Method = 'oauth' | 'token'
export type TokenKind =
  | 'oauth_access_token'
  | 'personal_access_token'
  | 'group_access_token'
  | 'project_access_token'
export type ConnectionStatus = 'active' | 'needs_reauthorization' | 'revoked' | 'expired'
export type IssuerMode = 'enforce' | 'audit_only'
export type StoredIssuerRule = { access_key_id: string; claims: Record<string, string | string[]> }
export type AttemptKind = 'refresh' | 'rotate' | 'disconnect'

type Instances = {
  id: string
  base_url: string
  name: string
  allow_private_network: boolean
  ca_certificate: string | null
  /** Other hosts of its SSH server: `host`, for any port, or `host:port`. */
  ssh_hosts: Generated<string[]>
  proxy_url: string | null
  /** Counts up with every change. Id and version name a client in the caches of a process. */
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
  /** Set = no key, but a rule of this issuer: its hash is that of bytes which nobody has. */
  trusted_issuer_id: Generated<string | null>
  /** null = not restricted; so is restricted_connections. */
  restricted_url_prefixes: Generated<string[] | null>
  restricted_connections: Generated<string[] | null>
  read_only: Generated<boolean>
  /** A public JWK; null = answers cannot be sealed. */
  encryption_key: ColumnType<Record<string, string> | null, string | null | undefined, never>
  require_sealed: Generated<boolean>
}

type TrustedIssuers = {
  id: string
  issuer: string
  audience: string
  /** null = where the issuer's discovery document says. */
  jwks_uri: string | null
  allow_private_network: boolean
  ca_certificate: string | null
  mode: IssuerMode
  /** In the order in which they are tried. What a rule grants stands in its row of access_keys. */
  rules: ColumnType<StoredIssuerRule[], string, never>
  created_at: Date
}

/** Names and values, as a caller gave them. */
type Labels = Generated<Record<string, string>>

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
  /** The connection that the link reconnects; null = the link connects anew. */
  connection_id: Generated<string | null>
  /** The only instance at which the link connects; null = any. */
  base_url: Generated<string | null>
  /** The group or project to which the connection is limited, as the caller wrote it; null = the person may say. */
  group_path: Generated<string | null>
  /** Of the connection that the link makes. */
  labels: Labels
  /** When a caller ended the link. */
  ended_at: Generated<Date | null>
}

type AuthorizationRequests = {
  id: string
  connect_session_id: string
  oauth_app_id: string
  created_at: Date
  expires_at: Date
  consumed_at: Date | null
  /**
   * The tokens that GitLab issued, sealed, and saved before any other question to GitLab. null again once a
   * connection has them.
   */
  grant_jwe: string | null
  /** null while the grant waits for a person. */
  granted_at: Date | null
  /** Until when a person may say yes to the grant; past it the grant is to be revoked and forgotten. null = no question. */
  confirm_until: Date | null
  /** Of a device grant: the codes, sealed, while GitLab is asked for the tokens; null = another kind of grant, or ended. */
  device_jwe: string | null
  /** When GitLab is asked next, and how many seconds lie between. */
  poll_at: Date | null
  poll_seconds: number | null
  /** How a device grant came out; null = not yet. */
  outcome: ColumnType<DeviceOutcome | null, string | null | undefined, string | null>
}

export type DeviceOutcome =
  | { status: 'connected'; connection_id: string; created: boolean }
  | { status: 'failed'; code: string }

type Connections = {
  id: string
  organization: string
  instance_id: string
  method: Method
  token_kind: TokenKind
  name: string | null
  /** Tells the connections of an account apart, by the places of the first day. What is covered says connection_places. */
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
  /** Of the authorization or pasted token that the stored one descends from; null = the id of the row. UUIDv7: ordered. */
  grant_id: string | null
  /** JWE, bound to connection, token_version and use; so is refresh_token. */
  access_token: string
  refresh_token: string | null
  token_issued_at: Date
  token_expires_at: Date | null
  /** The claim of the one writer: whoever holds attempt_id may save a result until attempt_deadline. */
  attempt_id: string | null
  attempt_kind: AttemptKind | null
  attempt_deadline: Date | null
  /** Written before the request leaves. Set = GitLab may have acted. */
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
  /** GitLab does not rotate the token: it is not asked again before this time. */
  rotate_after: Generated<Date | null>
  rotation_failures: Generated<number>
  rotation_failure_code: Generated<string | null>
  rotation_failure_detail: Generated<string | null>
  created_at: Date
  updated_at: Date
  /** By which a platform finds its connections again. */
  labels: Labels
}

type Leases = {
  id: string
  connection_id: string
  organization: string
  token_version: number
  access_key_id: string
  purpose: string | null
  /** Which workload of a trusted issuer got the token; null = the access key itself. */
  subject: string | null
  granted_at: Date
  expires_at: Date
  released_at: Date | null
  rejected_at: Date | null
}

type DataKeys = {
  id: string
  /** The data key, wrapped by the master key: JWE with alg A256GCMKW. */
  wrapped_key: string
  created_at: Date
  retired_at: Date | null
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

export type Tables = {
  instances: Instances
  oauth_apps: OAuthApps
  access_keys: AccessKeys
  trusted_issuers: TrustedIssuers
  connect_sessions: ConnectSessions
  authorization_requests: AuthorizationRequests
  connections: Connections
  connection_places: ConnectionPlaces
  connection_projects: ConnectionProjects
  connection_project_paths: ConnectionProjectPaths
  connection_groups: ConnectionGroups
  connection_syncs: ConnectionSyncs
  leases: Leases
  wrapped_leases: WrappedLeases
  lease_batches: LeaseBatches
  reach_proofs: ReachProofs
  lease_slots: LeaseSlots
  audit_events: AuditEvents
  audit_unsealed: AuditUnsealed
  audit_seals: AuditSeals
  data_keys: DataKeys
  signing_keys: SigningKeys
  directory_versions: DirectoryVersions
  heartbeats: Heartbeats
  database_history: DatabaseHistory
  guesses: Guesses
  instance_refusals: InstanceRefusals
  instance_bans: InstanceBans
  incidents: IncidentsTable
}

export type InstanceRow = Selectable<Instances>
export type OAuthAppRow = Selectable<OAuthApps>
export type AccessKeyRow = Selectable<AccessKeys>
export type TrustedIssuerRow = Selectable<TrustedIssuers>
export type WrappedLeaseRow = Selectable<WrappedLeases>
export type ConnectSessionRow = Selectable<ConnectSessions>
export type AuthorizationRequestRow = Selectable<AuthorizationRequests>
export type ConnectionRow = Selectable<Connections>
export type ConnectionSyncRow = Selectable<ConnectionSyncs>
export type NewConnectionRow = Insertable<Connections>
export type LeaseTableRow = Selectable<Leases>
export type AuditSealRow = Selectable<AuditSeals>
export type DataKeyRow = Selectable<DataKeys>
export type SigningKeyRow = Selectable<SigningKeys>
