import { type Kysely, sql } from 'kysely'

const KIND = (row: string) => `case
      when ${row}.group_path = '' then 'instance'
      when ${row}.token_kind = 'group_access_token' then 'group'
      when ${row}.token_kind = 'project_access_token' then 'project'
    end`
const COLUMNS = 'connection_id, instance_id, organization, kind, path, match_path'
const PLACE_OF = (row: string) =>
  `${row}.id, ${row}.instance_id, ${row}.organization, ${KIND(row)}, ${row}.group_path, lower(${row}.group_path collate "C")`

const STATEMENTS = [
  'lock table connections in share row exclusive mode',
  // What a connection covers: one row for each place, one more for each path that a place had before.
  `create table connection_places (
    connection_id uuid not null references connections (id) on delete cascade,
    instance_id uuid not null,
    organization text not null,
    kind text check (kind in ('instance', 'group', 'project')),
    gitlab_id bigint,
    path text not null,
    match_path text collate "C" not null,
    is_former boolean not null default false,
    primary key (connection_id, match_path)
  )`,
  `insert into connection_places (${COLUMNS}) select ${PLACE_OF('connections')} from connections`,
  'create index connection_places_by_path on connection_places (instance_id, organization, match_path)',
  // A broker of an earlier version writes group_path alone. '#' and ',' are in no path: with them group_path is not
  // one path, but only tells connections of an account apart.
  `create function add_places_of_added() returns trigger language plpgsql set search_path from current as $$
  begin
    insert into connection_places (${COLUMNS}) select ${PLACE_OF('added')} from added
    where group_path !~ '[#,]'
    on conflict do nothing;
    return null;
  end $$`,
  `create trigger add_places_of_added after insert on connections
    referencing new table as added for each statement execute function add_places_of_added()`,
  `create function move_places_of_moved() returns trigger language plpgsql set search_path from current as $$
  begin
    if old.group_path <> new.group_path and new.group_path !~ '[#,]' then
      delete from connection_places
      where connection_id = new.id and match_path = lower(old.group_path collate "C");
      insert into connection_places (${COLUMNS}) values (${PLACE_OF('new')})
      on conflict do nothing;
    end if;
    update connection_places set instance_id = new.instance_id, organization = new.organization
    where connection_id = new.id and (instance_id <> new.instance_id or organization <> new.organization);
    return null;
  end $$`,
  `create trigger move_places_of_moved after update of organization, instance_id, group_path on connections
    for each row execute function move_places_of_moved()`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
