import { type Kysely, sql } from 'kysely'

/** A new one each time, not a count: after a restore from a backup a count could come to an earlier value again. */
const NEW_VERSION = 'floor(random() * 281474976710656)::bigint'
const ALL_INSTANCES = `select '' as organization, '00000000-0000-0000-0000-000000000000'::uuid as instance_id`
const RENEW = (places: string) => `
    insert into directory_versions (organization, instance_id, version)
    select organization, instance_id, ${NEW_VERSION} from (${places}) as changed
    order by organization, instance_id
    on conflict (organization, instance_id) do update set version = excluded.version;
    return null;`
const FUNCTION = (name: string, places: string) =>
  `create function ${name}() returns trigger language plpgsql set search_path from current as $$
  begin${RENEW(places)}
  end $$`

/** Adds only: a broker of the version before goes on with match_versions. */
const STATEMENTS = [
  'lock table instances, connections, connection_places in share row exclusive mode',
  // What says that the directory of an organization on an instance is out of date; the row without an organization says
  // so of the instances themselves. By triggers, so that whoever writes places does so too.
  `create table directory_versions (
    organization text collate "C" not null,
    instance_id uuid not null,
    version bigint not null,
    primary key (organization, instance_id)
  )`,
  FUNCTION('renew_directories_of_added', 'select distinct organization, instance_id from added'),
  `create trigger renew_directories_of_added after insert on connection_places
    referencing new table as added for each statement execute function renew_directories_of_added()`,
  FUNCTION('renew_directories_of_removed', 'select distinct organization, instance_id from removed'),
  `create trigger renew_directories_of_removed after delete on connection_places
    referencing old table as removed for each statement execute function renew_directories_of_removed()`,
  FUNCTION(
    'renew_directories_of_moved',
    'select old.organization, old.instance_id union select new.organization, new.instance_id',
  ),
  `create trigger renew_directories_of_moved after update of organization, instance_id, match_path on connection_places
    for each row execute function renew_directories_of_moved()`,
  FUNCTION('renew_instances', ALL_INSTANCES),
  `create trigger renew_instances after insert or delete or update on instances
    for each statement execute function renew_instances()`,
  // Connections of an instance, beside those that lookups found by group_path.
  'create index connections_by_instance on connections (instance_id, organization)',
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
