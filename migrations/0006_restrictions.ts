import { type Kysely, sql } from 'kysely'

const NEW_VERSION = 'floor(random() * 281474976710656)::bigint'
const SCOPE = (row: string) =>
  `coalesce(nullif(split_part(${row}.group_path, '/', 1), ''), '/' || ${row}.organization)`

/** Adds only: a broker of the version before goes on beside it, and knows of no restriction meanwhile. */
const STATEMENTS = [
  // The rules are [{access_key_id, claims}], in the order in which they are tried.
  `create table trusted_issuers (
    id uuid primary key,
    issuer text not null,
    audience text not null,
    jwks_uri text,
    allow_private_network boolean not null,
    ca_certificate text,
    mode text not null check (mode in ('enforce', 'audit_only')),
    rules jsonb not null,
    created_at timestamptz not null,
    unique (issuer, audience)
  )`,
  // A rule of a trusted issuer has a row here that nobody can present as a key: so the statements that check a key
  // check a rule too.
  `alter table access_keys
    add column trusted_issuer_id uuid references trusted_issuers (id) on delete cascade,
    add column restricted_url_prefixes text[],
    add column restricted_connections uuid[],
    add column read_only boolean not null default false,
    add column encryption_key jsonb,
    add column require_sealed boolean not null default false`,
  'create index access_keys_by_trusted_issuer on access_keys (trusted_issuer_id) where trusted_issuer_id is not null',
  // Which workload of a rule got the token; null = the access key itself.
  'alter table leases add column subject text',
  `create table wrapped_leases (
    lease_id uuid primary key,
    handle_sha256 bytea not null,
    expires_at timestamptz not null,
    opened_at timestamptz
  )`,
  // A connection that moves changes which connection a URL gets where it was, too (migrations/0003_match_versions.ts).
  `create or replace function renew_matches_of_moved() returns trigger language plpgsql set search_path from current as $$
  begin
    insert into match_versions (scope, version)
    select scope, ${NEW_VERSION} from (select ${SCOPE('old')} as scope union select ${SCOPE('new')}) as scopes
    order by scope
    on conflict (scope) do update set version = excluded.version;
    return null;
  end $$`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
