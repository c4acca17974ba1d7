import { sql } from 'kysely'
import type { Database } from './database.ts'

const HEADER =
  '-- What the migrations make of an empty database, for reading: `node src/cli.ts schema` wrote it, and nothing runs it.\n'

type Column = {
  table: string
  name: string
  type: string
  /** null = the collation of the type. */
  collation: string | null
  required: boolean
  default: string | null
}
type Constraint = { table: string; name: string; definition: string }
type Index = { table: string; definition: string }
type Trigger = { table: string; definition: string; called: string }

/** Kysely's own tables are no part of the schema. */
const ours = sql`relnamespace = 'public'::regnamespace and relname not like 'kysely%'`

const listColumns = async (db: Database): Promise<Column[]> => {
  const { rows } = await sql<Column>`
    select relname as table, attname as name, format_type(atttypid, atttypmod) as type, attnotnull as required,
      (select collname from pg_collation where oid = attcollation and oid <> typcollation) as collation,
      pg_get_expr(adbin, adrelid) as default
    from pg_attribute
    join pg_class on pg_class.oid = attrelid
    join pg_type on pg_type.oid = atttypid
    left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where relkind = 'r' and attnum > 0 and not attisdropped and ${ours}
    order by relname, attnum
  `.execute(db)
  return rows
}

/** All but "not null", which stands at the column: PostgreSQL 18 lists it as a constraint, 17 does not. */
const listConstraints = async (db: Database): Promise<Constraint[]> => {
  const { rows } = await sql<Constraint>`
    select relname as table, conname as name, pg_get_constraintdef(pg_constraint.oid) as definition
    from pg_constraint
    join pg_class on pg_class.oid = conrelid
    where contype <> 'n' and ${ours}
    order by relname, contype = 'p' desc, conname
  `.execute(db)
  return rows
}

/** The indexes that no constraint brings with it. */
const listIndexes = async (db: Database): Promise<Index[]> => {
  const { rows } = await sql<Index>`
    select relname as table, pg_get_indexdef(indexrelid) as definition
    from pg_index
    join pg_class on pg_class.oid = indrelid
    where not exists (select from pg_constraint where conindid = indexrelid) and ${ours}
    order by relname, definition
  `.execute(db)
  return rows
}

/** `search_path from current` reads differently in each database. */
const portable = (definition: string): string =>
  definition.replace(/SET search_path TO .*/, 'SET search_path FROM CURRENT').trimEnd()

/** Our own functions that no trigger calls. */
const listFunctions = async (db: Database): Promise<string[]> => {
  const { rows } = await sql<{ definition: string }>`
    select pg_get_functiondef(oid) as definition
    from pg_proc
    where pronamespace = 'public'::regnamespace and prorettype <> 'trigger'::regtype
      and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
    order by proname
  `.execute(db)
  return rows.map(({ definition }) => `${portable(definition)};\n`)
}

/** Our own triggers, each with the function that it calls. */
const listTriggers = async (db: Database): Promise<Trigger[]> => {
  const { rows } = await sql<Trigger>`
    select relname as table, pg_get_triggerdef(pg_trigger.oid) as definition, pg_get_functiondef(tgfoid) as called
    from pg_trigger
    join pg_class on pg_class.oid = tgrelid
    where not tgisinternal and ${ours}
    order by relname, tgname
  `.execute(db)
  return rows.map((row) => ({ ...row, called: portable(row.called) }))
}

/** The schema from the catalog of PostgreSQL, table by table. The same schema gives the same text. */
export const dumpSchema = async (db: Database): Promise<string> => {
  const columns = await listColumns(db)
  const constraints = Map.groupBy(await listConstraints(db), ({ table }) => table)
  const indexes = Map.groupBy(await listIndexes(db), ({ table }) => table)
  const triggers = Map.groupBy(await listTriggers(db), ({ table }) => table)
  const tables = [...Map.groupBy(columns, ({ table }) => table)].map(([table, own]) => {
    const lines = [
      ...own.map(
        ({ name, type, collation, required, default: value }) =>
          `  ${name} ${type}${collation === null ? '' : ` collate "${collation}"`}${required ? ' not null' : ''}${value === null ? '' : ` default ${value}`}`,
      ),
      ...(constraints.get(table) ?? []).map(({ name, definition }) => `  constraint ${name} ${definition}`),
    ]
    const after = [
      ...(indexes.get(table) ?? []).map(({ definition }) => `${definition};\n`),
      ...(triggers.get(table) ?? []).map(({ definition, called }) => `${called};\n${definition};\n`),
    ]
    return `create table ${table} (\n${lines.join(',\n')}\n);\n${after.join('')}`
  })
  return [HEADER, ...tables, ...(await listFunctions(db))].join('\n')
}
