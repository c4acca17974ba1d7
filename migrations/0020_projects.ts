import { type Kysely, sql } from 'kysely'

/**
 * What connections reach at GitLab, and how far reading that is. New tables alone: a broker of an earlier version knows
 * none of them.
 */
const STATEMENTS = [
  // No connection comes in between the trigger and the rows of those that are there.
  'lock table connections in share row exclusive mode',
  // One row for each project that a connection reaches; organization and instance_id repeat the connection's row.
  `create table connection_projects (
    connection_id uuid not null references connections (id) on delete cascade,
    project_id bigint not null,
    organization text not null,
    instance_id uuid not null,
    path text not null,
    match_path text collate "C" not null,
    name text,
    visibility text,
    archived boolean not null default false,
    default_branch text,
    last_activity_at timestamptz,
    size_bytes bigint,
    seen_run integer not null default 0,
    missing_since timestamptz,
    primary key (connection_id, project_id)
  ) with (fillfactor = 80)`,
  'create index connection_projects_by_organization on connection_projects (organization, instance_id, project_id)',
  // Words of the path, each found by its beginning. Not pg_trgm: not every database has that extension.
  `create index connection_projects_by_words on connection_projects using gin
    (array_to_tsvector(array_remove(string_to_array(translate(match_path, '/-_.', '    '), ' '), '')))`,
  'create index connection_projects_by_activity on connection_projects (organization, last_activity_at)',
  'create index connection_projects_missing on connection_projects (missing_since) where missing_since is not null',
  // The current and the former paths of the projects that are not missing.
  `create table connection_project_paths (
    connection_id uuid not null references connections (id) on delete cascade,
    match_path text collate "C" not null,
    project_id bigint not null,
    primary key (connection_id, match_path)
  )`,
  'create index connection_project_paths_by_project on connection_project_paths (connection_id, project_id)',
  `create table connection_groups (
    connection_id uuid not null references connections (id) on delete cascade,
    group_id bigint not null,
    path text not null,
    match_path text collate "C" not null,
    name text,
    visibility text,
    parent_id bigint,
    seen_run integer not null default 0,
    missing_since timestamptz,
    primary key (connection_id, group_id)
  )`,
  'create index connection_groups_missing on connection_groups (missing_since) where missing_since is not null',
  // How far the reading is: a run goes through steps, and each page moves the position within its step.
  `create table connection_syncs (
    connection_id uuid primary key references connections (id) on delete cascade,
    state text not null check (state in ('waiting', 'running', 'done', 'not_permitted')),
    kind text not null check (kind in ('full', 'incremental')),
    wants_full boolean not null default true,
    run integer not null default 0,
    step text,
    position bigint not null default 0,
    is_exact boolean not null default true,
    since timestamptz,
    attempt_id uuid,
    attempt_deadline timestamptz,
    token_version integer,
    pages integer not null default 0,
    projects integer not null default 0,
    groups integer not null default 0,
    reached_projects integer,
    reached_groups integer,
    started_at timestamptz,
    finished_at timestamptz,
    synced_to timestamptz,
    full_synced_to timestamptz,
    failures integer not null default 0,
    error_code text,
    error_detail text,
    due_at timestamptz not null
  )`,
  'create index connection_syncs_due on connection_syncs (due_at)',
  // Each connection has a row from its beginning on, also one that a broker of an earlier version makes.
  `create function add_syncs_of_added() returns trigger language plpgsql set search_path from current as $$
  begin
    insert into connection_syncs (connection_id, state, kind, due_at) select id, 'waiting', 'full', now() from added
    on conflict do nothing;
    return null;
  end $$`,
  `create trigger add_syncs_of_added after insert on connections
    referencing new table as added for each statement execute function add_syncs_of_added()`,
  `insert into connection_syncs (connection_id, state, kind, due_at) select id, 'waiting', 'full', now() from connections
    on conflict do nothing`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
