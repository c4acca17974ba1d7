import { type Kysely, sql } from 'kysely'

/** A new one each time, not a count: after a restore from a backup a count could come to an earlier value again. */
const NEW_VERSION = 'floor(random() * 281474976710656)::bigint'
const RENEW = 'on conflict (scope) do update set version = excluded.version'
const SCOPE = (row: string) =>
  `coalesce(nullif(split_part(${row}.group_path, '/', 1), ''), '/' || ${row}.organization)`

const STATEMENTS = [
  'lock table instances, connections in share row exclusive mode',
  // For the directory of a group of the first level.
  `create index connections_by_top_group
    on connections (instance_id, split_part(group_path, '/', 1), organization)`,
  // What changes when something comes that could change which connection a URL gets. The scope of a connection is the
  // first segment of its group path, which every URL that it covers begins with; without a group, '/' and its
  // organization. By triggers, so that whoever writes, an older version of the broker among them, does so too.
  `create table match_versions (
    scope text collate "C" primary key,
    version bigint not null
  )`,
  `create function renew_matches_of_added() returns trigger language plpgsql set search_path from current as $$
  begin
    insert into match_versions (scope, version)
    select scope, ${NEW_VERSION} from (select distinct ${SCOPE('added')} as scope from added) as scopes
    order by scope
    ${RENEW};
    return null;
  end $$`,
  `create trigger renew_matches_of_added after insert on connections
    referencing new table as added for each statement execute function renew_matches_of_added()`,
  `create function renew_matches_of_moved() returns trigger language plpgsql set search_path from current as $$
  begin
    insert into match_versions (scope, version) values (${SCOPE('new')}, ${NEW_VERSION})
    ${RENEW};
    return null;
  end $$`,
  `create trigger renew_matches_of_moved after update of organization, instance_id, group_path on connections
    for each row execute function renew_matches_of_moved()`,
  // An instance under a path is another reading of the URLs below it; one that moves takes its connections along.
  `create function renew_matches_of_instance() returns trigger language plpgsql set search_path from current as $$
  begin
    insert into match_versions (scope, version)
    select scope, ${NEW_VERSION} from (
      select lower(split_part(new.base_url, '/', 4) collate "C") as scope
      union
      select ${SCOPE('connections')} from connections where instance_id = new.id
    ) as scopes
    where scope <> ''
    order by scope
    ${RENEW};
    return null;
  end $$`,
  `create trigger renew_matches_of_instance after insert or update of base_url on instances
    for each row execute function renew_matches_of_instance()`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
