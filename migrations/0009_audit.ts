import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  // With defaults: a broker of an earlier version, which does not know these columns, goes on recording.
  `alter table audit_events
    add column address text,
    add column outcome text not null default 'success' check (outcome in ('success', 'refused', 'failed')),
    add column token_hash text`,
  `create index audit_events_by_time on audit_events (at, id)`,
  `drop index audit_events_by_organization`,
  `create index audit_events_by_organization on audit_events (organization, at, id)`,
  `create index audit_events_by_subject on audit_events (subject_id, at, id)`,
  `create index audit_events_by_access_key on audit_events (access_key_id, at, id)`,
  `create index audit_events_by_action on audit_events (action, at, id)`,

  // Which events no seal has yet. A queue and not a position in the table: an event that commits late is still in it.
  `create table audit_unsealed (
    event_id uuid primary key,
    queued_at timestamptz not null default clock_timestamp()
  )`,
  `insert into audit_unsealed (event_id) select id from audit_events`,
  `create function queue_audit_events() returns trigger language plpgsql set search_path from current as $$
  begin
    insert into audit_unsealed (event_id) select id from added;
    return null;
  end $$`,
  `create trigger queue_audit_events after insert on audit_events
    referencing new table as added for each statement execute function queue_audit_events()`,

  // Each seal names its events and the hash of each, the leases of an hour, and the seal before: a chain.
  `create table audit_seals (
    id bigint primary key,
    at timestamptz not null,
    first_event uuid,
    last_event uuid,
    event_count integer not null,
    events uuid[] not null,
    event_hashes text[] not null,
    lease_hour timestamptz,
    lease_count bigint,
    lease_sha256 text,
    previous_sha256 text not null,
    sha256 text not null,
    mac text not null
  )`,
  `create unique index audit_seals_by_lease_hour on audit_seals (lease_hour) where lease_hour is not null`,

  // The database itself refuses, whoever asks. delete_audit_before alone says that it may delete.
  `create function refuse_change_of_record() returns trigger language plpgsql as $$
  begin
    if tg_op = 'DELETE' and current_setting('broker.audit_retention', true) = 'on' then
      return null;
    end if;
    raise exception '% is append-only: % is refused', tg_table_name, lower(tg_op)
      using errcode = 'insufficient_privilege';
  end $$`,
  ...['audit_events', 'audit_seals'].flatMap((table) => [
    `create trigger refuse_change_of_record before update or delete on ${table}
      for each statement execute function refuse_change_of_record()`,
    `create trigger refuse_truncation_of_record before truncate on ${table}
      for each statement execute function refuse_change_of_record()`,
  ]),
  // Whole seals with their events, the oldest first; never the newest seal, which the next one continues.
  `create function delete_audit_before(cutoff timestamptz, most_seals integer)
  returns table (last_seal bigint, events bigint)
  language plpgsql security definer set search_path from current as $$
  declare
    old_seals bigint[];
  begin
    if cutoff > now() - interval '1 day' then
      raise exception 'audit events are kept for a day at least' using errcode = 'invalid_parameter_value';
    end if;
    select array_agg(old.id) into old_seals from (
      select seal.id from audit_seals seal
      where seal.at < cutoff and seal.id < (select max(newest.id) from audit_seals newest)
      order by seal.id limit most_seals
    ) as old;
    if old_seals is null then
      return;
    end if;
    perform set_config('broker.audit_retention', 'on', true);
    delete from audit_events where id in (
      select unnest(seal.events) from audit_seals seal where seal.id = any (old_seals)
    );
    get diagnostics events = row_count;
    delete from audit_seals where id = any (old_seals);
    perform set_config('broker.audit_retention', 'off', true);
    last_seal := old_seals[array_upper(old_seals, 1)];
    return next;
  end $$`,
  // It runs with the rights of its owner: a role that only reads must not delete by it.
  `revoke all on function delete_audit_before(timestamptz, integer) from public`,

  // In which ten minutes an access key got leases of an organization, and from which to which: an index of the record that
  // background work keeps. One on the leases themselves would make every lookup dearer.
  `create table lease_slots (
    organization text not null,
    slot timestamptz not null,
    access_key_id uuid not null,
    first_id uuid not null,
    last_id uuid not null,
    granted_from timestamptz not null,
    granted_to timestamptz not null,
    primary key (organization, slot, access_key_id)
  )`,
  `create index lease_slots_by_access_key on lease_slots (access_key_id, slot)`,
  `create index lease_slots_by_slot on lease_slots (slot)`,

  // Keys with a purpose of their own, each sealed under a data key: for receipts, seals and hashes of tokens.
  `create table signing_keys (
    id uuid primary key,
    purpose text not null,
    key_jwe text not null,
    public_jwk jsonb,
    created_at timestamptz not null,
    retired_at timestamptz
  )`,
  `create unique index signing_keys_current on signing_keys (purpose) where retired_at is null`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
