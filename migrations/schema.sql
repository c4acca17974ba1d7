-- What the migrations make of an empty database, for reading: `node src/cli.ts schema` wrote it, and nothing runs it.

create table access_keys (
  id uuid not null,
  name text not null,
  role text not null,
  organizations text[] not null,
  key_sha256 bytea not null,
  created_at timestamp with time zone not null,
  expires_at timestamp with time zone,
  trusted_issuer_id uuid,
  restricted_url_prefixes text[],
  restricted_connections uuid[],
  read_only boolean not null default false,
  encryption_key jsonb,
  require_sealed boolean not null default false,
  constraint access_keys_pkey PRIMARY KEY (id),
  constraint access_keys_key_sha256_key UNIQUE (key_sha256),
  constraint access_keys_role_check CHECK ((role = ANY (ARRAY['admin'::text, 'manager'::text, 'scanner'::text]))),
  constraint access_keys_trusted_issuer_id_fkey FOREIGN KEY (trusted_issuer_id) REFERENCES trusted_issuers(id) ON DELETE CASCADE
);
CREATE INDEX access_keys_by_trusted_issuer ON public.access_keys USING btree (trusted_issuer_id) WHERE (trusted_issuer_id IS NOT NULL);

create table audit_events (
  id uuid not null,
  at timestamp with time zone not null,
  access_key_id uuid,
  organization text,
  action text not null,
  subject_id text,
  request_id text,
  details jsonb not null default '{}'::jsonb,
  address text,
  outcome text not null default 'success'::text,
  token_hash text,
  constraint audit_events_pkey PRIMARY KEY (id),
  constraint audit_events_outcome_check CHECK ((outcome = ANY (ARRAY['success'::text, 'refused'::text, 'failed'::text])))
);
CREATE INDEX audit_events_by_access_key ON public.audit_events USING btree (access_key_id, at, id);
CREATE INDEX audit_events_by_action ON public.audit_events USING btree (action, at, id);
CREATE INDEX audit_events_by_organization ON public.audit_events USING btree (organization, at, id);
CREATE INDEX audit_events_by_subject ON public.audit_events USING btree (subject_id, at, id);
CREATE INDEX audit_events_by_time ON public.audit_events USING btree (at, id);
CREATE OR REPLACE FUNCTION public.queue_audit_events()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into audit_unsealed (event_id) select id from added;
    return null;
  end $function$;
CREATE TRIGGER queue_audit_events AFTER INSERT ON public.audit_events REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION queue_audit_events();
CREATE OR REPLACE FUNCTION public.refuse_change_of_record()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
  begin
    if tg_op = 'DELETE' and current_setting('broker.audit_retention', true) = 'on' then
      return null;
    end if;
    raise exception '% is append-only: % is refused', tg_table_name, lower(tg_op)
      using errcode = 'insufficient_privilege';
  end $function$;
CREATE TRIGGER refuse_change_of_record BEFORE DELETE OR UPDATE ON public.audit_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_record();
CREATE OR REPLACE FUNCTION public.refuse_change_of_record()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
  begin
    if tg_op = 'DELETE' and current_setting('broker.audit_retention', true) = 'on' then
      return null;
    end if;
    raise exception '% is append-only: % is refused', tg_table_name, lower(tg_op)
      using errcode = 'insufficient_privilege';
  end $function$;
CREATE TRIGGER refuse_truncation_of_record BEFORE TRUNCATE ON public.audit_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_record();

create table audit_seals (
  id bigint not null,
  at timestamp with time zone not null,
  first_event uuid,
  last_event uuid,
  event_count integer not null,
  events uuid[] not null,
  event_hashes text[] not null,
  lease_hour timestamp with time zone,
  lease_count bigint,
  lease_sha256 text,
  previous_sha256 text not null,
  sha256 text not null,
  mac text not null,
  constraint audit_seals_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX audit_seals_by_lease_hour ON public.audit_seals USING btree (lease_hour) WHERE (lease_hour IS NOT NULL);
CREATE OR REPLACE FUNCTION public.refuse_change_of_record()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
  begin
    if tg_op = 'DELETE' and current_setting('broker.audit_retention', true) = 'on' then
      return null;
    end if;
    raise exception '% is append-only: % is refused', tg_table_name, lower(tg_op)
      using errcode = 'insufficient_privilege';
  end $function$;
CREATE TRIGGER refuse_change_of_record BEFORE DELETE OR UPDATE ON public.audit_seals FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_record();
CREATE OR REPLACE FUNCTION public.refuse_change_of_record()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
  begin
    if tg_op = 'DELETE' and current_setting('broker.audit_retention', true) = 'on' then
      return null;
    end if;
    raise exception '% is append-only: % is refused', tg_table_name, lower(tg_op)
      using errcode = 'insufficient_privilege';
  end $function$;
CREATE TRIGGER refuse_truncation_of_record BEFORE TRUNCATE ON public.audit_seals FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_record();

create table audit_unsealed (
  event_id uuid not null,
  queued_at timestamp with time zone not null default clock_timestamp(),
  constraint audit_unsealed_pkey PRIMARY KEY (event_id)
);

create table authorization_requests (
  id uuid not null,
  connect_session_id uuid not null,
  oauth_app_id uuid not null,
  created_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  consumed_at timestamp with time zone,
  grant_jwe text,
  granted_at timestamp with time zone,
  confirm_until timestamp with time zone,
  device_jwe text,
  poll_at timestamp with time zone,
  poll_seconds integer,
  outcome jsonb,
  constraint authorization_requests_pkey PRIMARY KEY (id),
  constraint authorization_requests_connect_session_id_fkey FOREIGN KEY (connect_session_id) REFERENCES connect_sessions(id) ON DELETE CASCADE,
  constraint authorization_requests_oauth_app_id_fkey FOREIGN KEY (oauth_app_id) REFERENCES oauth_apps(id) ON DELETE CASCADE
);
CREATE INDEX authorization_requests_by_session ON public.authorization_requests USING btree (connect_session_id);
CREATE INDEX authorization_requests_granted_at ON public.authorization_requests USING btree (granted_at) WHERE (grant_jwe IS NOT NULL);
CREATE INDEX authorization_requests_poll_at ON public.authorization_requests USING btree (poll_at) WHERE (device_jwe IS NOT NULL);

create table connect_sessions (
  id uuid not null,
  token_sha256 bytea not null,
  organization text not null,
  return_url text,
  methods text[] not null,
  access_key_id uuid not null,
  created_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  used_at timestamp with time zone,
  connection_id uuid,
  base_url text,
  group_path text,
  labels jsonb not null default '{}'::jsonb,
  ended_at timestamp with time zone,
  constraint connect_sessions_pkey PRIMARY KEY (id),
  constraint connect_sessions_token_sha256_key UNIQUE (token_sha256)
);
CREATE INDEX connect_sessions_by_organization ON public.connect_sessions USING btree (organization, id);

create table connection_groups (
  connection_id uuid not null,
  group_id bigint not null,
  path text not null,
  match_path text collate "C" not null,
  name text,
  visibility text,
  parent_id bigint,
  seen_run integer not null default 0,
  missing_since timestamp with time zone,
  constraint connection_groups_pkey PRIMARY KEY (connection_id, group_id),
  constraint connection_groups_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connections(id) ON DELETE CASCADE
);
CREATE INDEX connection_groups_missing ON public.connection_groups USING btree (missing_since) WHERE (missing_since IS NOT NULL);

create table connection_places (
  connection_id uuid not null,
  instance_id uuid not null,
  organization text not null,
  kind text,
  gitlab_id bigint,
  path text not null,
  match_path text collate "C" not null,
  is_former boolean not null default false,
  looked_at timestamp with time zone,
  look_due_at timestamp with time zone not null default '-infinity'::timestamp with time zone,
  look_failures smallint not null default 0,
  constraint connection_places_pkey PRIMARY KEY (connection_id, match_path),
  constraint connection_places_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connections(id) ON DELETE CASCADE,
  constraint connection_places_kind_check CHECK ((kind = ANY (ARRAY['instance'::text, 'group'::text, 'project'::text])))
);
CREATE INDEX connection_places_by_path ON public.connection_places USING btree (instance_id, organization, match_path);
CREATE INDEX connection_places_to_look_at ON public.connection_places USING btree (look_due_at, connection_id) WHERE ((NOT is_former) AND (kind IS DISTINCT FROM 'instance'::text));
CREATE OR REPLACE FUNCTION public.renew_directories_of_added()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into directory_versions (organization, instance_id, version)
    select organization, instance_id, floor(random() * 281474976710656)::bigint from (select distinct organization, instance_id from added) as changed
    order by organization, instance_id
    on conflict (organization, instance_id) do update set version = excluded.version;
    return null;
  end $function$;
CREATE TRIGGER renew_directories_of_added AFTER INSERT ON public.connection_places REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION renew_directories_of_added();
CREATE OR REPLACE FUNCTION public.renew_directories_of_moved()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into directory_versions (organization, instance_id, version)
    select organization, instance_id, floor(random() * 281474976710656)::bigint from (select old.organization, old.instance_id union select new.organization, new.instance_id) as changed
    order by organization, instance_id
    on conflict (organization, instance_id) do update set version = excluded.version;
    return null;
  end $function$;
CREATE TRIGGER renew_directories_of_moved AFTER UPDATE OF organization, instance_id, match_path ON public.connection_places FOR EACH ROW EXECUTE FUNCTION renew_directories_of_moved();
CREATE OR REPLACE FUNCTION public.renew_directories_of_removed()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into directory_versions (organization, instance_id, version)
    select organization, instance_id, floor(random() * 281474976710656)::bigint from (select distinct organization, instance_id from removed) as changed
    order by organization, instance_id
    on conflict (organization, instance_id) do update set version = excluded.version;
    return null;
  end $function$;
CREATE TRIGGER renew_directories_of_removed AFTER DELETE ON public.connection_places REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION renew_directories_of_removed();

create table connection_project_paths (
  connection_id uuid not null,
  match_path text collate "C" not null,
  project_id bigint not null,
  constraint connection_project_paths_pkey PRIMARY KEY (connection_id, match_path),
  constraint connection_project_paths_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connections(id) ON DELETE CASCADE
);
CREATE INDEX connection_project_paths_by_project ON public.connection_project_paths USING btree (connection_id, project_id);

create table connection_projects (
  connection_id uuid not null,
  project_id bigint not null,
  organization text not null,
  instance_id uuid not null,
  path text not null,
  match_path text collate "C" not null,
  name text,
  visibility text,
  archived boolean not null default false,
  default_branch text,
  last_activity_at timestamp with time zone,
  size_bytes bigint,
  seen_run integer not null default 0,
  missing_since timestamp with time zone,
  constraint connection_projects_pkey PRIMARY KEY (connection_id, project_id),
  constraint connection_projects_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connections(id) ON DELETE CASCADE
);
CREATE INDEX connection_projects_by_activity ON public.connection_projects USING btree (organization, last_activity_at);
CREATE INDEX connection_projects_by_organization ON public.connection_projects USING btree (organization, instance_id, project_id);
CREATE INDEX connection_projects_by_words ON public.connection_projects USING gin (array_to_tsvector(array_remove(string_to_array(translate(match_path, '/-_.'::text, '    '::text), ' '::text), ''::text)));
CREATE INDEX connection_projects_missing ON public.connection_projects USING btree (missing_since) WHERE (missing_since IS NOT NULL);

create table connection_syncs (
  connection_id uuid not null,
  state text not null,
  kind text not null,
  wants_full boolean not null default true,
  run integer not null default 0,
  step text,
  position bigint not null default 0,
  is_exact boolean not null default true,
  since timestamp with time zone,
  attempt_id uuid,
  attempt_deadline timestamp with time zone,
  token_version integer,
  pages integer not null default 0,
  projects integer not null default 0,
  groups integer not null default 0,
  reached_projects integer,
  reached_groups integer,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  synced_to timestamp with time zone,
  full_synced_to timestamp with time zone,
  failures integer not null default 0,
  error_code text,
  error_detail text,
  due_at timestamp with time zone not null,
  constraint connection_syncs_pkey PRIMARY KEY (connection_id),
  constraint connection_syncs_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connections(id) ON DELETE CASCADE,
  constraint connection_syncs_kind_check CHECK ((kind = ANY (ARRAY['full'::text, 'incremental'::text]))),
  constraint connection_syncs_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'running'::text, 'done'::text, 'not_permitted'::text])))
);
CREATE INDEX connection_syncs_due ON public.connection_syncs USING btree (due_at);

create table connections (
  id uuid not null,
  organization text not null,
  instance_id uuid not null,
  method text not null,
  token_kind text not null,
  name text,
  group_path text not null default ''::text,
  gitlab_user_id text not null,
  gitlab_username text,
  gitlab_name text,
  oauth_app_id uuid,
  auto_rotate boolean not null default false,
  status text not null,
  status_reason text,
  status_detail text,
  scopes text[] not null,
  token_version integer not null,
  access_token text not null,
  refresh_token text,
  token_issued_at timestamp with time zone not null,
  token_expires_at timestamp with time zone,
  attempt_id uuid,
  attempt_kind text,
  attempt_deadline timestamp with time zone,
  attempt_sent_at timestamp with time zone,
  retry_after timestamp with time zone,
  unanswered_since timestamp with time zone,
  refused_since timestamp with time zone,
  failing_since timestamp with time zone,
  failure_count integer not null default 0,
  failure_code text,
  failure_detail text,
  last_verified_at timestamp with time zone,
  created_at timestamp with time zone not null,
  updated_at timestamp with time zone not null,
  grant_id uuid,
  labels jsonb not null default '{}'::jsonb,
  rotate_after timestamp with time zone,
  rotation_failures integer not null default 0,
  rotation_failure_code text,
  rotation_failure_detail text,
  constraint connections_pkey PRIMARY KEY (id),
  constraint connections_attempt_kind_check CHECK ((attempt_kind = ANY (ARRAY['refresh'::text, 'rotate'::text, 'disconnect'::text]))),
  constraint connections_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES instances(id),
  constraint connections_method_check CHECK ((method = ANY (ARRAY['oauth'::text, 'token'::text]))),
  constraint connections_oauth_app_id_fkey FOREIGN KEY (oauth_app_id) REFERENCES oauth_apps(id),
  constraint connections_status_check CHECK ((status = ANY (ARRAY['active'::text, 'needs_reauthorization'::text, 'revoked'::text, 'expired'::text]))),
  constraint connections_token_kind_check CHECK ((token_kind = ANY (ARRAY['oauth_access_token'::text, 'personal_access_token'::text, 'group_access_token'::text, 'project_access_token'::text])))
);
CREATE INDEX connections_by_instance ON public.connections USING btree (instance_id, organization);
CREATE INDEX connections_by_label ON public.connections USING gin (labels) WHERE (labels <> '{}'::jsonb);
CREATE INDEX connections_by_organization ON public.connections USING btree (organization, id);
CREATE INDEX connections_by_place ON public.connections USING btree (instance_id, group_path, organization);
CREATE INDEX connections_by_top_group ON public.connections USING btree (instance_id, split_part(group_path, '/'::text, 1), organization);
CREATE INDEX connections_ended ON public.connections USING btree (status, id) WHERE (status <> 'active'::text);
CREATE INDEX connections_oauth_app_id ON public.connections USING btree (oauth_app_id) WHERE (oauth_app_id IS NOT NULL);
CREATE INDEX connections_of_instance ON public.connections USING btree (instance_id, id);
CREATE INDEX connections_to_expire ON public.connections USING btree (token_expires_at) WHERE ((status = 'active'::text) AND ((refresh_token IS NULL) OR (oauth_app_id IS NULL)));
CREATE INDEX connections_to_mend ON public.connections USING btree (retry_after) WHERE ((status = 'active'::text) AND ((attempt_id IS NOT NULL) OR (failing_since IS NOT NULL)));
CREATE INDEX connections_to_rotate ON public.connections USING btree (token_expires_at) WHERE ((status = 'active'::text) AND auto_rotate AND (method = 'token'::text));
CREATE INDEX connections_verified ON public.connections USING btree (instance_id, last_verified_at DESC NULLS LAST) WHERE (status = 'active'::text);
CREATE INDEX connections_waiting_for_owner ON public.connections USING btree (retry_after) WHERE (status = 'needs_reauthorization'::text);
CREATE UNIQUE INDEX connections_identity ON public.connections USING btree (gitlab_user_id, instance_id, organization, method, group_path);
CREATE OR REPLACE FUNCTION public.add_places_of_added()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into connection_places (connection_id, instance_id, organization, kind, path, match_path) select added.id, added.instance_id, added.organization, case
      when added.group_path = '' then 'instance'
      when added.token_kind = 'group_access_token' then 'group'
      when added.token_kind = 'project_access_token' then 'project'
    end, added.group_path, lower(added.group_path collate "C") from added
    where group_path !~ '[#,]'
    on conflict do nothing;
    return null;
  end $function$;
CREATE TRIGGER add_places_of_added AFTER INSERT ON public.connections REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION add_places_of_added();
CREATE OR REPLACE FUNCTION public.add_syncs_of_added()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into connection_syncs (connection_id, state, kind, due_at) select id, 'waiting', 'full', now() from added
    on conflict do nothing;
    return null;
  end $function$;
CREATE TRIGGER add_syncs_of_added AFTER INSERT ON public.connections REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION add_syncs_of_added();
CREATE OR REPLACE FUNCTION public.forget_reach()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
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
    return null;
  end $function$;
CREATE TRIGGER forget_reach AFTER UPDATE OF scopes, grant_id, gitlab_user_id ON public.connections FOR EACH ROW WHEN (((old.scopes IS DISTINCT FROM new.scopes) OR (old.gitlab_user_id IS DISTINCT FROM new.gitlab_user_id) OR (COALESCE(old.grant_id, old.id) IS DISTINCT FROM COALESCE(new.grant_id, new.id)))) EXECUTE FUNCTION forget_reach();
CREATE OR REPLACE FUNCTION public.move_places_of_moved()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    if old.group_path <> new.group_path and new.group_path !~ '[#,]' then
      delete from connection_places
      where connection_id = new.id and match_path = lower(old.group_path collate "C");
      insert into connection_places (connection_id, instance_id, organization, kind, path, match_path) values (new.id, new.instance_id, new.organization, case
      when new.group_path = '' then 'instance'
      when new.token_kind = 'group_access_token' then 'group'
      when new.token_kind = 'project_access_token' then 'project'
    end, new.group_path, lower(new.group_path collate "C"))
      on conflict do nothing;
    end if;
    update connection_places set instance_id = new.instance_id, organization = new.organization
    where connection_id = new.id and (instance_id <> new.instance_id or organization <> new.organization);
    return null;
  end $function$;
CREATE TRIGGER move_places_of_moved AFTER UPDATE OF organization, instance_id, group_path ON public.connections FOR EACH ROW EXECUTE FUNCTION move_places_of_moved();
CREATE OR REPLACE FUNCTION public.renew_matches_of_added()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into match_versions (scope, version)
    select scope, floor(random() * 281474976710656)::bigint from (select distinct coalesce(nullif(split_part(added.group_path, '/', 1), ''), '/' || added.organization) as scope from added) as scopes
    order by scope
    on conflict (scope) do update set version = excluded.version;
    return null;
  end $function$;
CREATE TRIGGER renew_matches_of_added AFTER INSERT ON public.connections REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION renew_matches_of_added();
CREATE OR REPLACE FUNCTION public.renew_matches_of_moved()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into match_versions (scope, version)
    select scope, floor(random() * 281474976710656)::bigint from (select coalesce(nullif(split_part(old.group_path, '/', 1), ''), '/' || old.organization) as scope union select coalesce(nullif(split_part(new.group_path, '/', 1), ''), '/' || new.organization)) as scopes
    order by scope
    on conflict (scope) do update set version = excluded.version;
    return null;
  end $function$;
CREATE TRIGGER renew_matches_of_moved AFTER UPDATE OF organization, instance_id, group_path ON public.connections FOR EACH ROW EXECUTE FUNCTION renew_matches_of_moved();

create table data_keys (
  id uuid not null,
  wrapped_key text not null,
  created_at timestamp with time zone not null,
  retired_at timestamp with time zone,
  constraint data_keys_pkey PRIMARY KEY (id)
);

create table database_history (
  id integer not null,
  went_back_at timestamp with time zone not null,
  constraint database_history_pkey PRIMARY KEY (id),
  constraint database_history_id_check CHECK ((id = 1))
);

create table directory_versions (
  organization text collate "C" not null,
  instance_id uuid not null,
  version bigint not null,
  constraint directory_versions_pkey PRIMARY KEY (organization, instance_id)
);

create table guesses (
  source text not null,
  guesses integer not null,
  ends_at timestamp with time zone not null,
  constraint guesses_pkey PRIMARY KEY (source)
);
CREATE INDEX guesses_by_end ON public.guesses USING btree (ends_at);

create table heartbeats (
  node_id uuid not null,
  beat bigint not null,
  at timestamp with time zone not null,
  constraint heartbeats_pkey PRIMARY KEY (node_id)
);

create table incidents (
  id uuid not null,
  instance_id uuid not null,
  oauth_app_id uuid,
  oauth_app_version integer,
  cause text not null,
  connections integer not null,
  canary_id uuid not null,
  canary_at timestamp with time zone not null,
  opened_at timestamp with time zone not null,
  last_refused_at timestamp with time zone not null,
  told_at timestamp with time zone,
  closed_at timestamp with time zone,
  constraint incidents_pkey PRIMARY KEY (id),
  constraint incidents_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES instances(id) ON DELETE CASCADE,
  constraint incidents_oauth_app_id_fkey FOREIGN KEY (oauth_app_id) REFERENCES oauth_apps(id) ON DELETE CASCADE
);
CREATE INDEX incidents_by_instance ON public.incidents USING btree (instance_id, opened_at);
CREATE UNIQUE INDEX incidents_open ON public.incidents USING btree (instance_id, cause, oauth_app_id) NULLS NOT DISTINCT WHERE (closed_at IS NULL);

create table instance_bans (
  instance_id uuid not null,
  banned_until timestamp with time zone not null,
  constraint instance_bans_pkey PRIMARY KEY (instance_id),
  constraint instance_bans_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES instances(id) ON DELETE CASCADE
);

create table instance_refusals (
  instance_id uuid not null,
  minute timestamp with time zone not null,
  refusals integer not null,
  constraint instance_refusals_pkey PRIMARY KEY (instance_id, minute),
  constraint instance_refusals_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES instances(id) ON DELETE CASCADE
);

create table instances (
  id uuid not null,
  base_url text not null,
  name text not null,
  allow_private_network boolean not null default false,
  ca_certificate text,
  version integer not null default 1,
  created_at timestamp with time zone not null,
  updated_at timestamp with time zone not null,
  proxy_url text,
  ssh_hosts text[] not null default '{}'::text[],
  constraint instances_pkey PRIMARY KEY (id),
  constraint instances_base_url_key UNIQUE (base_url)
);
CREATE INDEX instances_by_host ON public.instances USING btree (regexp_replace(split_part(base_url, '/'::text, 3), ':[0-9]+$'::text, ''::text));
CREATE OR REPLACE FUNCTION public.renew_instances()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into directory_versions (organization, instance_id, version)
    select organization, instance_id, floor(random() * 281474976710656)::bigint from (select '' as organization, '00000000-0000-0000-0000-000000000000'::uuid as instance_id) as changed
    order by organization, instance_id
    on conflict (organization, instance_id) do update set version = excluded.version;
    return null;
  end $function$;
CREATE TRIGGER renew_instances AFTER INSERT OR DELETE OR UPDATE ON public.instances FOR EACH STATEMENT EXECUTE FUNCTION renew_instances();
CREATE OR REPLACE FUNCTION public.renew_matches_of_instance()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into match_versions (scope, version)
    select scope, floor(random() * 281474976710656)::bigint from (
      select lower(split_part(new.base_url, '/', 4) collate "C") as scope
      union
      select coalesce(nullif(split_part(connections.group_path, '/', 1), ''), '/' || connections.organization) from connections where instance_id = new.id
    ) as scopes
    where scope <> ''
    order by scope
    on conflict (scope) do update set version = excluded.version;
    return null;
  end $function$;
CREATE TRIGGER renew_matches_of_instance AFTER INSERT OR UPDATE OF base_url ON public.instances FOR EACH ROW EXECUTE FUNCTION renew_matches_of_instance();

create table lease_batches (
  access_key_id uuid not null,
  subject text not null,
  key_sha256 bytea not null,
  request_sha256 bytea not null,
  lease_ids text[],
  claimed_until timestamp with time zone,
  created_at timestamp with time zone not null,
  constraint lease_batches_pkey PRIMARY KEY (access_key_id, subject, key_sha256)
);
CREATE INDEX lease_batches_by_time ON public.lease_batches USING btree (created_at);

create table lease_slots (
  organization text not null,
  slot timestamp with time zone not null,
  access_key_id uuid not null,
  first_id uuid not null,
  last_id uuid not null,
  granted_from timestamp with time zone not null,
  granted_to timestamp with time zone not null,
  constraint lease_slots_pkey PRIMARY KEY (organization, slot, access_key_id)
);
CREATE INDEX lease_slots_by_access_key ON public.lease_slots USING btree (access_key_id, slot);
CREATE INDEX lease_slots_by_slot ON public.lease_slots USING btree (slot);

create table leases (
  id uuid not null,
  connection_id uuid not null,
  organization text not null,
  token_version integer not null,
  access_key_id uuid not null,
  purpose text,
  granted_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  released_at timestamp with time zone,
  rejected_at timestamp with time zone,
  subject text,
  constraint leases_pkey PRIMARY KEY (id)
);
CREATE INDEX leases_by_connection ON public.leases USING btree (connection_id, expires_at);

create table match_versions (
  scope text collate "C" not null,
  version bigint not null,
  constraint match_versions_pkey PRIMARY KEY (scope)
);

create table oauth_apps (
  id uuid not null,
  slug text not null,
  instance_id uuid not null,
  client_id text not null,
  client_secret text not null,
  scopes text[] not null,
  version integer not null default 1,
  created_at timestamp with time zone not null,
  updated_at timestamp with time zone not null,
  constraint oauth_apps_pkey PRIMARY KEY (id),
  constraint oauth_apps_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES instances(id),
  constraint oauth_apps_slug_key UNIQUE (slug)
);
CREATE INDEX oauth_apps_instance_id ON public.oauth_apps USING btree (instance_id);

create table reach_proofs (
  connection_id uuid not null,
  match_path text collate "C" not null,
  reaches boolean not null,
  proven_at timestamp with time zone not null,
  constraint reach_proofs_pkey PRIMARY KEY (connection_id, match_path),
  constraint reach_proofs_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connections(id) ON DELETE CASCADE
);
CREATE INDEX reach_proofs_by_time ON public.reach_proofs USING btree (proven_at);
CREATE INDEX reach_proofs_refused ON public.reach_proofs USING btree (connection_id, match_path) WHERE (NOT reaches);
CREATE INDEX reach_proofs_refused_by_project ON public.reach_proofs USING btree (match_path, connection_id) WHERE (NOT reaches);
CREATE OR REPLACE FUNCTION public.renew_directories_of_refused()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into directory_versions (organization, instance_id, version)
    select organization, instance_id, floor(random() * 281474976710656)::bigint from (
      select distinct connections.organization, connections.instance_id
      from (select connection_id from changed where not reaches) as changed join connections on connections.id = changed.connection_id
    ) as directory
    order by organization, instance_id
    on conflict (organization, instance_id) do update set version = excluded.version;
    return null;
  end $function$;
CREATE TRIGGER renew_directories_of_forgotten AFTER DELETE ON public.reach_proofs REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION renew_directories_of_refused();
CREATE OR REPLACE FUNCTION public.renew_directories_of_proven()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into directory_versions (organization, instance_id, version)
    select organization, instance_id, floor(random() * 281474976710656)::bigint from (
      select distinct connections.organization, connections.instance_id
      from (select new.connection_id) as changed join connections on connections.id = changed.connection_id
    ) as directory
    order by organization, instance_id
    on conflict (organization, instance_id) do update set version = excluded.version;
    return null;
  end $function$;
CREATE TRIGGER renew_directories_of_proven AFTER UPDATE ON public.reach_proofs FOR EACH ROW WHEN ((old.reaches IS DISTINCT FROM new.reaches)) EXECUTE FUNCTION renew_directories_of_proven();
CREATE OR REPLACE FUNCTION public.renew_directories_of_refused()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    insert into directory_versions (organization, instance_id, version)
    select organization, instance_id, floor(random() * 281474976710656)::bigint from (
      select distinct connections.organization, connections.instance_id
      from (select connection_id from changed where not reaches) as changed join connections on connections.id = changed.connection_id
    ) as directory
    order by organization, instance_id
    on conflict (organization, instance_id) do update set version = excluded.version;
    return null;
  end $function$;
CREATE TRIGGER renew_directories_of_refused AFTER INSERT ON public.reach_proofs REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION renew_directories_of_refused();

create table signing_keys (
  id uuid not null,
  purpose text not null,
  key_jwe text not null,
  public_jwk jsonb,
  created_at timestamp with time zone not null,
  retired_at timestamp with time zone,
  constraint signing_keys_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX signing_keys_current ON public.signing_keys USING btree (purpose) WHERE (retired_at IS NULL);

create table trusted_issuers (
  id uuid not null,
  issuer text not null,
  audience text not null,
  jwks_uri text,
  allow_private_network boolean not null,
  ca_certificate text,
  mode text not null,
  rules jsonb not null,
  created_at timestamp with time zone not null,
  constraint trusted_issuers_pkey PRIMARY KEY (id),
  constraint trusted_issuers_issuer_audience_key UNIQUE (issuer, audience),
  constraint trusted_issuers_mode_check CHECK ((mode = ANY (ARRAY['enforce'::text, 'audit_only'::text])))
);

create table wrapped_leases (
  lease_id uuid not null,
  handle_sha256 bytea not null,
  expires_at timestamp with time zone not null,
  opened_at timestamp with time zone,
  constraint wrapped_leases_pkey PRIMARY KEY (lease_id)
);

CREATE OR REPLACE FUNCTION public.delete_audit_before(cutoff timestamp with time zone, most_seals integer)
 RETURNS TABLE(last_seal bigint, events bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path FROM CURRENT
AS $function$
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
  end $function$;

CREATE OR REPLACE FUNCTION public.last_lease_end(of_connection uuid, of_version integer, except_lease uuid, except_key uuid, at_time timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 SET search_path FROM CURRENT
AS $function$
  begin
    return (
      select max(expires_at) from leases
      where connection_id = of_connection and token_version = of_version and released_at is null
        and expires_at > at_time and id is distinct from except_lease and access_key_id <> except_key
    );
  end $function$;
