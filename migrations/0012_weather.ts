import { type Kysely, sql } from 'kysely'

/** Adds only: a broker of the version before goes on beside it, and neither counts refusals nor spaces out rotations. */
const STATEMENTS = [
  // Why GitLab does not rotate a token, and when it is asked again.
  `alter table connections
    add column rotate_after timestamptz,
    add column rotation_failures integer not null default 0,
    add column rotation_failure_code text,
    add column rotation_failure_detail text`,
  // What we caused of 400, 401 and 403 in a minute; all replicas together.
  `create table instance_refusals (
    instance_id uuid not null references instances (id) on delete cascade,
    minute timestamptz not null,
    refusals integer not null,
    primary key (instance_id, minute)
  )`,
  // Until when GitLab refuses everything that comes from our address.
  `create table instance_bans (
    instance_id uuid primary key references instances (id) on delete cascade,
    banned_until timestamptz not null
  )`,
  // Many connections refused at once. One of them, the canary, is tried before the others.
  `create table incidents (
    id uuid primary key,
    instance_id uuid not null references instances (id) on delete cascade,
    oauth_app_id uuid references oauth_apps (id) on delete cascade,
    oauth_app_version integer,
    cause text not null,
    connections integer not null,
    canary_id uuid not null,
    canary_at timestamptz not null,
    opened_at timestamptz not null,
    last_refused_at timestamptz not null,
    told_at timestamptz,
    closed_at timestamptz
  )`,
  `create unique index incidents_open on incidents (instance_id, cause, oauth_app_id) nulls not distinct
    where closed_at is null`,
  `create index incidents_by_instance on incidents (instance_id, opened_at)`,
  `create index connections_waiting_for_owner on connections (retry_after) where status = 'needs_reauthorization'`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
