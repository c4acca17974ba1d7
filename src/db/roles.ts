import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { sql } from 'kysely'
import type { Database } from './database.ts'

/** The roles of PostgreSQL, each with no more rights than its work takes. */
export const ROLES = {
  /** Owns the tables and makes them; runs `migrate`. */
  migrate: 'broker_migrate',
  /** What the broker serves with: rows alone, and of the record only to add to it. */
  serve: 'broker_serve',
  /** Reads the record of who did what, and nothing else. */
  audit: 'broker_audit',
} as const
export type RolePasswords = Record<keyof typeof ROLES, string>

/** Tables that the serving role adds to and reads, and never changes. */
const APPEND_ONLY = ['audit_events', 'audit_seals']
/** Tables that the auditing role reads; no column of them opens anything. */
const AUDITED = ['leases', ...APPEND_ONLY]

const { migrate, serve, audit } = ROLES
const ALL = [migrate, serve, audit].join(', ')
const list = (names: string[]): string => names.map((name) => `'${name}'`).join(', ')

/** For a superuser, or the owner of the database with createrole. As often as one likes; passwords are set apart. */
export const ROLES_SQL = `-- The roles of the broker: one migrates, one serves, one audits.
do $$
declare
  name text;
  item record;
begin
  foreach name in array array[${list([migrate, serve, audit])}] loop
    if not exists (select from pg_roles where rolname = name) then
      execute format('create role %I login nocreatedb nocreaterole noinherit', name);
    end if;
  end loop;
  execute format('revoke all on database %I from public', current_database());
  execute format('grant connect on database %I to ${ALL}', current_database());
  execute format('grant create on database %I to ${migrate}', current_database());
  -- What an earlier version made as another role.
  for item in
    select format('alter table %I.%I owner to ${migrate}', nspname, relname) as statement
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname in ('public', 'pgboss') and relkind in ('r', 'p')
    union all
    select format('alter function %s owner to ${migrate}', pg_proc.oid::regprocedure)
    from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
    where nspname in ('public', 'pgboss')
    union all
    select format('alter type %I.%I owner to ${migrate}', nspname, typname)
    from pg_type join pg_namespace on pg_namespace.oid = typnamespace
    where nspname in ('public', 'pgboss') and typtype = 'e'
    union all
    select format('alter schema %I owner to ${migrate}', nspname) from pg_namespace where nspname = 'pgboss'
  loop
    execute item.statement;
  end loop;
end $$;
revoke create on schema public from public;
grant usage, create on schema public to ${migrate};
grant usage on schema public to ${serve}, ${audit};
`

/** For the migrating role, after each migration: a new table has no rights yet. */
const GRANTS_SQL = `do $$
declare
  name text;
begin
  if (select count(*) from pg_roles where rolname in (${list([serve, audit])})) < 2 then
    return;
  end if;
  for name in select tablename from pg_tables where schemaname = 'public' loop
    execute format('revoke all on public.%I from public, ${serve}, ${audit}', name);
    execute format(
      'grant %s on public.%I to ${serve}',
      case
        when name like 'kysely%' then 'select'
        when name in (${list(APPEND_ONLY)}) then 'select, insert'
        else 'select, insert, update, delete'
      end,
      name
    );
    if name in (${list(AUDITED)}) then
      execute format('grant select on public.%I to ${audit}', name);
    end if;
  end loop;
  if to_regprocedure('public.delete_audit_before(timestamptz, integer)') is not null then
    grant execute on function public.delete_audit_before(timestamptz, integer) to ${serve};
  end if;
  if to_regprocedure('public.last_lease_end(uuid, integer, uuid, uuid, timestamptz)') is not null then
    grant execute on function public.last_lease_end(uuid, integer, uuid, uuid, timestamptz) to ${serve};
  end if;
  if to_regnamespace('pgboss') is not null then
    grant usage on schema pgboss to ${serve};
    grant select, insert, update, delete on all tables in schema pgboss to ${serve};
    grant usage on all sequences in schema pgboss to ${serve};
    grant execute on all functions in schema pgboss to ${serve};
  end if;
end $$`

const SCRAM_ITERATIONS = 4_096

/** What PostgreSQL keeps of a password (RFC 5803): the password itself stands in no statement, and so in no log. */
const scramVerifier = (password: string): string => {
  const salt = randomBytes(16)
  const salted = pbkdf2Sync(password, salt, SCRAM_ITERATIONS, 32, 'sha256')
  const keyFor = (name: string) => createHmac('sha256', salted).update(name).digest()
  const stored = createHash('sha256').update(keyFor('Client Key')).digest('base64')
  return `SCRAM-SHA-256$${SCRAM_ITERATIONS}:${salt.toString('base64')}$${stored}:${keyFor('Server Key').toString('base64')}`
}

/** Makes the roles, or brings those that are there to what they may do. */
export const applyRoles = async (db: Database, passwords: RolePasswords): Promise<void> => {
  await db.transaction().execute(async (transaction) => {
    await sql.raw(ROLES_SQL).execute(transaction)
    for (const [name, role] of Object.entries(ROLES)) {
      const verifier = scramVerifier(passwords[name as keyof RolePasswords])
      await sql`alter role ${sql.id(role)} password ${sql.lit(verifier)}`.execute(transaction)
    }
  })
}

/** Does nothing where the roles are not. */
export const grantToRoles = async (db: Database): Promise<void> => {
  await sql.raw(GRANTS_SQL).execute(db)
}
