import { type Kysely, sql } from 'kysely'

/** Each entry is one statement: PGlite takes one at a time. */
const STATEMENTS = [
  `create table data_keys (
    id uuid primary key,
    wrapped_key text not null,
    created_at timestamptz not null,
    retired_at timestamptz
  )`,

  `create table instances (
    id uuid primary key,
    base_url text not null unique,
    name text not null,
    allow_private_network boolean not null default false,
    ca_certificate text,
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null
  )`,

  `create table oauth_apps (
    id uuid primary key,
    slug text not null unique,
    instance_id uuid not null references instances (id),
    client_id text not null,
    client_secret text not null,
    scopes text[] not null,
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null
  )`,
  `create index oauth_apps_instance_id on oauth_apps (instance_id)`,

  `create table access_keys (
    id uuid primary key,
    name text not null,
    role text not null check (role in ('admin', 'manager', 'scanner')),
    organizations text[] not null,
    key_sha256 bytea not null unique,
    created_at timestamptz not null,
    expires_at timestamptz
  )`,

  `create table connect_sessions (
    id uuid primary key,
    token_sha256 bytea not null unique,
    organization text not null,
    return_url text,
    methods text[] not null,
    access_key_id uuid not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz
  )`,

  `create table authorization_requests (
    id uuid primary key,
    connect_session_id uuid not null references connect_sessions (id) on delete cascade,
    oauth_app_id uuid not null references oauth_apps (id) on delete cascade,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    consumed_at timestamptz,
    grant_jwe text,
    granted_at timestamptz
  )`,

  `create table connections (
    id uuid primary key,
    organization text not null,
    instance_id uuid not null references instances (id),
    method text not null check (method in ('oauth', 'token')),
    token_kind text not null check (token_kind in
      ('oauth_access_token', 'personal_access_token', 'group_access_token', 'project_access_token')),
    name text,
    group_path text not null default '',
    gitlab_user_id text not null,
    gitlab_username text,
    gitlab_name text,
    oauth_app_id uuid references oauth_apps (id),
    auto_rotate boolean not null default false,
    status text not null check (status in ('active', 'needs_reauthorization', 'revoked', 'expired')),
    status_reason text,
    status_detail text,
    scopes text[] not null,
    token_version integer not null,
    access_token text not null,
    refresh_token text,
    token_issued_at timestamptz not null,
    token_expires_at timestamptz,
    attempt_id uuid,
    attempt_kind text check (attempt_kind in ('refresh', 'rotate', 'disconnect')),
    attempt_deadline timestamptz,
    attempt_sent_at timestamptz,
    retry_after timestamptz,
    unanswered_since timestamptz,
    refused_since timestamptz,
    failing_since timestamptz,
    failure_count integer not null default 0,
    failure_code text,
    failure_detail text,
    last_verified_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null
  )`,
  `create unique index connections_identity
    on connections (organization, instance_id, method, gitlab_user_id, group_path)`,
  `create index connections_by_url on connections (instance_id, group_path, organization) where status = 'active'`,
  `create index connections_oauth_app_id on connections (oauth_app_id) where oauth_app_id is not null`,
  `create index connections_by_account on connections (instance_id, gitlab_user_id)`,
  `create index connections_to_mend on connections (retry_after)
    where status = 'active' and (attempt_id is not null or failing_since is not null)`,
  `create index connections_to_expire on connections (token_expires_at)
    where status = 'active' and refresh_token is null`,
  `create index authorization_requests_granted_at on authorization_requests (granted_at) where grant_jwe is not null`,
  `create index connections_by_organization on connections (organization, id)`,

  // No foreign key to connections: the row is the record of a release and outlives the connection.
  `create table leases (
    id uuid primary key,
    connection_id uuid not null,
    organization text not null,
    token_version integer not null,
    access_key_id uuid not null,
    purpose text,
    granted_at timestamptz not null,
    expires_at timestamptz not null,
    released_at timestamptz,
    rejected_at timestamptz
  )`,
  `create index leases_by_connection on leases (connection_id, expires_at)`,

  `create table audit_events (
    id uuid primary key,
    at timestamptz not null,
    access_key_id uuid,
    organization text,
    action text not null,
    subject_id text,
    request_id text,
    details jsonb not null default '{}'
  )`,
  `create index audit_events_by_organization on audit_events (organization, id)`,

  `insert into instances (id, base_url, name, created_at, updated_at)
    values ('01900000-0000-7000-8000-000000000001', 'https://gitlab.com', 'GitLab.com', now(), now())`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
