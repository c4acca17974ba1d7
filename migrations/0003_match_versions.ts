import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  // In the order in which a first account on a new instance writes them.
  'lock table instances, connections in share row exclusive mode',
  // For the directory of a group of the first level.
  `create index connections_by_top_group
    on connections (instance_id, split_part(group_path, '/', 1), organization)`,
  // Counts what comes and could change which connection a URL gets. The scope of a connection is the first segment of
  // its group path, which every URL that it covers begins with; without a group, '/' and its organization. What is
  // counted is never deleted: a count that began anew could meet an old one.
  `create table match_versions (
    scope text collate "C" primary key,
    version bigint not null
  )`,
  `create function count_match_of_connection() returns trigger language plpgsql as $$
  begin
    insert into match_versions (scope, version)
    values (coalesce(nullif(split_part(new.group_path, '/', 1), ''), '/' || new.organization), 1)
    on conflict (scope) do update set version = match_versions.version + 1;
    return null;
  end $$`,
  // By triggers, so that whoever writes, an older version of the broker among them, does so too.
  `create trigger count_match after insert or update of organization, instance_id, group_path on connections
    for each row execute function count_match_of_connection()`,
  // An instance under a path is another reading of the URLs below it.
  `create function count_match_of_instance() returns trigger language plpgsql as $$
  begin
    insert into match_versions (scope, version)
    select lower(segment), 1 from split_part(new.base_url, '/', 4) as segment where segment <> ''
    on conflict (scope) do update set version = match_versions.version + 1;
    return null;
  end $$`,
  `create trigger count_match after insert or update of base_url on instances
    for each row execute function count_match_of_instance()`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
