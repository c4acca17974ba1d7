import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { createTestDatabase } from './support/database.ts'
import { FLOORS, readImportGraph } from './support/import-rules.ts'
import { readSources, WRITERS } from './support/source-rules.ts'

const ROOT = join(import.meta.dirname, '..')
/** A rule that sees nothing passes. */
const LEAST_MODULES: Record<string, number> = { src: 100, test: 50, simulator: 10, demo: 5, bench: 10 }
const LEAST_FILES = 150
const LEAST_IMPORTS = 200
const LEAST_WRITES = 25

t.test('imports only go down, and SQL stays in its place', async (t) => {
  const { modules, imports, violations } = await readImportGraph(ROOT)
  for (const folder of ['src', 'test', 'simulator', 'demo', 'bench', 'migrations', 'scripts']) {
    const seen = modules.filter((name) => name.startsWith(`${folder}/`)).length
    t.ok(seen >= (LEAST_MODULES[folder] ?? 1), `saw ${seen} modules of ${folder}`)
  }
  t.ok(imports > LEAST_IMPORTS, `saw ${imports} imports`)
  t.same(violations, [])
})

t.test('every folder and file of src has a floor', async (t) => {
  const known = FLOORS.flat()
  t.same(
    (await readdir(join(ROOT, 'src'))).filter((name) => !known.includes(name)),
    [],
  )
})

/** The second is for brokers of earlier versions. */
const BY_TRIGGERS = new Set(['directory_versions', 'match_versions'])

t.test('a table is written by one room, and files and functions are short', async (t) => {
  const { files, writes, violations, longFunctions } = await readSources(ROOT)
  t.ok(files > LEAST_FILES, `saw ${files} files`)
  t.ok(writes.length > LEAST_WRITES, `saw ${writes.length} writes`)
  t.same(violations, [])
  const { db } = await createTestDatabase(t)
  const tables = (await db.introspection.getTables()).map(({ name }) => name)
  const written = new Set(writes.map(({ table }) => table))
  for (const table of tables.filter((name) => !name.startsWith('kysely_')))
    t.ok(written.has(table) || BY_TRIGGERS.has(table), `saw who writes ${table}`)
  t.same(longFunctions, {}, 'no function past 80 lines')
})

/** Each a small source tree with one fault, and the rule that has to find it. */
const FAULTS: [rule: string, files: Record<string, string>][] = [
  [
    'db imports only from floors below it: src/db/a.ts -> src/lookup/b.ts',
    { 'src/db/a.ts': `import '../lookup/b.ts'`, 'src/lookup/b.ts': 'export {}' },
  ],
  [
    'vault imports only from floors below it: src/vault/a.ts -> src/gitlab/b.ts',
    { 'src/vault/a.ts': `import type { B } from '../gitlab/b.ts'`, 'src/gitlab/b.ts': 'export type B = 1' },
  ],
  [
    'start.ts imports only from floors below it: src/start.ts -> src/main.ts',
    { 'src/start.ts': `export * from './main.ts'`, 'src/main.ts': 'export {}' },
  ],
  [
    'lookup imports only from floors below it: src/lookup/a.ts -> src/attic/b.ts',
    { 'src/lookup/a.ts': `await import('../attic/b.ts')`, 'src/attic/b.ts': 'export {}' },
  ],
  [
    'every room has a floor: src/attic/a.ts -> src/db/b.ts',
    { 'src/attic/a.ts': `import '../db/b.ts'`, 'src/db/b.ts': 'export {}' },
  ],
  [
    'src imports nothing that only development has: src/app.ts -> test/b.ts',
    { 'src/app.ts': `import '../test/b.ts'`, 'test/b.ts': 'export {}' },
  ],
  [
    'src imports no package that only development has: src/app.ts -> node_modules/tap/index.js',
    {
      'src/app.ts': `import 'tap'`,
      'package.json': '{ "type": "module", "devDependencies": { "tap": "1" } }',
      'node_modules/tap/package.json': '{ "name": "tap", "version": "1.0.0", "main": "index.js" }',
      'node_modules/tap/index.js': '',
    },
  ],
  [
    'no circles: src/db/a.ts -> src/db/b.ts',
    { 'src/db/a.ts': `import './b.ts'`, 'src/db/b.ts': `import './a.ts'` },
  ],
  [
    'no circles: src/db/a.ts -> src/db/b.ts',
    {
      'src/db/a.ts': `import type { B } from './b.ts'\nexport type A = B`,
      'src/db/b.ts': `import type { A } from './a.ts'\nexport type B = A | 1`,
    },
  ],
  [
    'no circles: demo/a.ts -> demo/b.ts',
    { 'demo/a.ts': `import './b.ts'`, 'demo/b.ts': `import type {} from './a.ts'` },
  ],
  ['everything imported exists: src/db/a.ts -> ./gone.ts', { 'src/db/a.ts': `import './gone.ts'` }],
  [
    'SQL only in queries.ts and db/: src/lookup/routes.ts',
    { 'src/lookup/routes.ts': `export const read = (db) => db.selectFrom('leases').selectAll()` },
  ],
  [
    'SQL only in queries.ts and db/: src/app.ts',
    { 'src/app.ts': `import { sql } from 'kysely'\nexport const one = sql\`select 1\`` },
  ],
]

for (const [violation, files] of FAULTS) {
  t.test(`finds a fault: ${violation}`, async (t) => {
    const folder = t.testdir({ src: {}, migrations: {}, ...nest(files) })
    const { violations } = await readImportGraph(folder)
    t.ok(violations.includes(violation), violations.join('\n'))
  })
}

const ONE_WRITER = 'a table is written by one room'
const IN_LOOKUP = 'src/lookup/queries.ts'
const IN_CONNECTIONS = 'src/connections/queries.ts'
const IN_LIFECYCLE = 'src/token-lifecycle/queries.ts'
const update = (set: string, parameters = '') =>
  `export const write = (db${parameters}) => db.updateTable('connections').set(${set}).where('id', '=', 1)`

/** Each one source file with one fault, and the rule that has to find it. */
const FAULTS_IN_SOURCE: [rule: string, path: string, text: string][] = [
  [
    `${ONE_WRITER}: leases by leases`,
    IN_LOOKUP,
    `export const write = (db) => db.insertInto('leases').values({})`,
  ],
  [`${ONE_WRITER}: leases by leases`, IN_LOOKUP, `export const write = (db) => db.deleteFrom('leases as l')`],
  [
    `${ONE_WRITER}: leases by leases`,
    IN_LOOKUP,
    'export const text = `with a as (insert into leases (id) values (1)) x`',
  ],
  [
    `${ONE_WRITER}: audit_events by audit`,
    IN_LOOKUP,
    `export const w = sql\`update audit_events as e set x = \${1}\``,
  ],
  [
    `${ONE_WRITER}: oauth_apps by oauth-apps`,
    IN_LOOKUP,
    `export const text = 'delete from "oauth_apps" where true'`,
  ],
  [`${ONE_WRITER}: $ by vault`, IN_LOOKUP, `export const text = (a) => \`truncate \${a}\``],
  [
    `${ONE_WRITER}: ? by no room that is named`,
    IN_LOOKUP,
    'export const write = (db, a) => db.updateTable(a).set({})',
  ],
  [
    `${ONE_WRITER}: directory_versions by nobody: its triggers write it`,
    IN_LOOKUP,
    `export const write = (db) => db.updateTable('directory_versions').set({ version: 1 })`,
  ],
  [
    `${ONE_WRITER}: connections by connections and token-lifecycle`,
    'src/leases/queries.ts',
    update('{ name: 1 }'),
  ],
  [
    'connections changes only who holds a connection and its settings: status',
    IN_CONNECTIONS,
    update('{ name: 1, status: 2 }'),
  ],
  [
    'connections changes only who holds a connection and its settings: scopes',
    IN_CONNECTIONS,
    update('{ ...a, updated_at: 1 }', `, a: Partial<Pick<Row, 'name' | 'scopes'>>`),
  ],
  [
    'connections changes only who holds a connection and its settings: what cannot be told',
    IN_CONNECTIONS,
    update('a', ', a: Row'),
  ],
  [
    'connections changes only who holds a connection and its settings: what cannot be told',
    IN_CONNECTIONS,
    update('{ ...a }', ', a: Row'),
  ],
  [
    'connections changes only who holds a connection and its settings: access_token',
    IN_CONNECTIONS,
    `export const write = (db) => db.insertInto('connections').values({}).onConflict((c) => c.doUpdateSet({ access_token: 1 }))`,
  ],
  [
    'connections changes only who holds a connection and its settings: status',
    IN_CONNECTIONS,
    'export const w = sql`insert into connections (id) values (1) on conflict (id) do update set status = 1`',
  ],
  [
    'token-lifecycle leaves the identity alone: organization',
    IN_LIFECYCLE,
    update('{ organization: 1, status: 2 }'),
  ],
  [
    'token-lifecycle changes connections only: insert',
    IN_LIFECYCLE,
    `export const write = (db) => db.insertInto('connections').values({})`,
  ],
  ['no file past 300 lines', 'src/lookup/routes.ts', '\n'.repeat(301)],
]

for (const [rule, path, text] of FAULTS_IN_SOURCE) {
  t.test(`finds a fault: ${rule}: ${text.trim().slice(0, 60)}`, async (t) => {
    const { violations } = await readSources(t.testdir(nest({ [path]: text })))
    t.same(violations, [`${rule}: ${path}`])
  })
}

t.test('finds a function that is too long, by whatever it is written', async (t) => {
  const lines = (count: number) => '\n'.repeat(count - 1)
  const folder = t.testdir(
    nest({
      'simulator/a.ts': `/* ä */\nexport const arrow = () => {${lines(81)}}\nexport function declared() {${lines(82)}}`,
      'bench/b.ts': `export const answers = { method() {${lines(83)}} }\nexport const short = () => {${lines(80)}}`,
      'test/c.ts': `export const measuredElsewhere = () => {${lines(90)}}`,
    }),
  )
  t.same((await readSources(folder)).longFunctions, {
    'simulator/a.ts arrow': 81,
    'simulator/a.ts declared': 82,
    'bench/b.ts answers': 83,
  })
})

t.test('finds no fault in sources that have none', async (t) => {
  const folder = t.testdir(
    nest({
      [IN_CONNECTIONS]: `${update('{ ...a, updated_at: 1 }', `, a: Partial<Pick<Row, 'name' | 'auto_rotate'>>`)}
        export const add = (db) => db.insertInto('connections').values({ status: 1 })`,
      [IN_LIFECYCLE]: update('a'),
      'src/leases/queries.ts':
        'export const text = `insert into leases (id) select id from connections for update`',
      'src/connect-page/texts.en.ts': '\n'.repeat(400),
    }),
  )
  const { violations, writes } = await readSources(folder)
  t.same(violations, [])
  t.equal(writes.length, 4)
})

t.test('each table has its room among the floors', (t) => {
  for (const [table, room] of Object.entries(WRITERS))
    t.ok(FLOORS.flat().includes(room) || table === 'directory_versions', `${table}: ${room}`)
  t.end()
})

t.test('finds no fault in a tree that has none', async (t) => {
  const folder = t.testdir(
    nest({
      'src/lookup/routes.ts': `import './queries.ts'\nimport { clock } from '../clock/clock.ts'`,
      'src/lookup/queries.ts': `export const read = (db) => db.selectFrom('leases').selectAll()`,
      'src/clock/clock.ts': 'export const clock = 1',
      'migrations/0001_initial.ts': 'export const up = (db) => sql.raw("select 1").execute(db)',
    }),
  )
  const { violations } = await readImportGraph(folder)
  t.same(violations, [])
})

type Folder = { [name: string]: string | Folder }

/** `{ 'a/b.ts': text }` as tap's testdir wants it: `{ a: { 'b.ts': text } }`. */
function nest(files: Record<string, string>): Folder {
  const root: Folder = { src: {}, migrations: {} }
  for (const [path, text] of Object.entries(files)) {
    const parts = path.split('/')
    const name = parts.pop() as string
    let folder = root
    for (const part of parts) {
      folder[part] ??= {}
      folder = folder[part] as Folder
    }
    folder[name] = text
  }
  return root
}
