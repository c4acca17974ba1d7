import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { FLOORS, readImportGraph } from './support/import-rules.ts'

const ROOT = join(import.meta.dirname, '..')
const LEAST_MODULES = 50
const LEAST_IMPORTS = 200

t.test('imports only go down, and SQL stays in its place', async (t) => {
  const { modules, imports, violations } = await readImportGraph(ROOT)
  t.ok(modules.length > LEAST_MODULES, `saw ${modules.length} modules`)
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
    'no cycles: src/db/a.ts -> src/db/b.ts',
    { 'src/db/a.ts': `import './b.ts'`, 'src/db/b.ts': `import './a.ts'` },
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
