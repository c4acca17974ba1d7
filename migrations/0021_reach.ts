import { type Kysely, sql } from 'kysely'

/** As in 0014_directories.ts. */
const NEW_VERSION = 'floor(random() * 281474976710656)::bigint'
const RENEW = (changed: string) => `
    insert into directory_versions (organization, instance_id, version)
    select organization, instance_id, ${NEW_VERSION} from (
      select distinct connections.organization, connections.instance_id
      from (${changed}) as changed join connections on connections.id = changed.connection_id
    ) as directory
    order by organization, instance_id
    on conflict (organization, instance_id) do update set version = excluded.version;
    return null;`
const FUNCTION = (name: string, body: string) =>
  `create function ${name}() returns trigger language plpgsql set search_path from current as $$
  begin${body}
  end $$`

/** Adds only: a broker of an earlier version chooses without what is known of repositories. */
const STATEMENTS = [
  // What GitLab said of a connection at a project.
  `create table reach_proofs (
    connection_id uuid not null references connections on delete cascade,
    match_path text collate "C" not null,
    reaches boolean not null,
    proven_at timestamptz not null,
    primary key (connection_id, match_path)
  )`,
  'create index reach_proofs_refused on reach_proofs (connection_id, match_path) where not reaches',
  'create index reach_proofs_refused_by_project on reach_proofs (match_path, connection_id) where not reaches',
  'create index reach_proofs_by_time on reach_proofs (proven_at)',
  // A directory names what is refused. A proof that a connection reaches a project changes no directory.
  FUNCTION('renew_directories_of_refused', RENEW('select connection_id from changed where not reaches')),
  `create trigger renew_directories_of_refused after insert on reach_proofs
    referencing new table as changed for each statement execute function renew_directories_of_refused()`,
  `create trigger renew_directories_of_forgotten after delete on reach_proofs
    referencing old table as changed for each statement execute function renew_directories_of_refused()`,
  FUNCTION('renew_directories_of_proven', RENEW('select new.connection_id')),
  `create trigger renew_directories_of_proven after update on reach_proofs
    for each row when (old.reaches is distinct from new.reaches) execute function renew_directories_of_proven()`,
  // A new grant, or a token with other scopes, may reach more or less. By a trigger, so that whoever writes it does so.
  FUNCTION(
    'forget_reach',
    `
    delete from reach_proofs where connection_id = new.id;
    -- What another account reaches is no longer what this connection does.
    if old.gitlab_user_id is distinct from new.gitlab_user_id then
      delete from connection_project_paths where connection_id = new.id;
      update connection_projects set missing_since = new.updated_at
        where connection_id = new.id and missing_since is null;
      update connection_groups set missing_since = new.updated_at
        where connection_id = new.id and missing_since is null;
      update connection_syncs set wants_full = true, step = null, attempt_id = null, due_at = new.updated_at
        where connection_id = new.id;
    end if;
    return null;`,
  ),
  `create trigger forget_reach after update of scopes, grant_id, gitlab_user_id on connections
    for each row when (
      old.scopes is distinct from new.scopes or old.gitlab_user_id is distinct from new.gitlab_user_id
      or coalesce(old.grant_id, old.id) is distinct from coalesce(new.grant_id, new.id)
    ) execute function forget_reach()`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
