import { readdir, readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import { createTestDatabase } from './support/database.ts'
import { FLOORS } from './support/import-rules.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (name: string) => readFile(join(ROOT, name), 'utf8')
const codeIn = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, name = '']) => name)

/** A lease as a thing that is granted, in its many forms, not the rights of SQL; the column `granted_at` of old is not renamed. */
const GRANTED_LEASE =
  /\bleases?\b[^.\n]{0,30}\bgrant(s|ed|ing)?\b|\bgrant(s|ed|ing)?\b(?!_| insert)[^.\n]{0,12}\bleases?\b|lease-?grant/i

const pages = [
  'README.md',
  'CHANGELOG.md',
  'SECURITY.md',
  '.github/CONTRIBUTING.md',
  ...(await readdir(join(ROOT, 'docs'))).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`),
]

t.test('every link to a file leads to one', async (t) => {
  let seen = 0
  for (const page of pages) {
    for (const link of codeIn(await read(page), /\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)) {
      seen += 1
      const found = await stat(join(ROOT, dirname(page), link)).catch(() => undefined)
      t.ok(found, `${page} -> ${link}`)
    }
  }
  t.ok(seen > 5, `${seen} links`)
})

t.test('every npm script that is named exists', async (t) => {
  const { scripts } = JSON.parse(await read('package.json'))
  let seen = 0
  for (const page of pages) {
    for (const name of codeIn(await read(page), /npm (?:run )?(start|test|(?<=run )[\w:-]+)/g)) {
      seen += 1
      t.ok(name in scripts, `${page}: npm run ${name}`)
    }
  }
  t.ok(seen > 5, `${seen} scripts`)
})

t.test('the README explains every variable that the configuration reads, and no other', async (t) => {
  const source =
    (await read('src/config/config.ts')) +
    (await read('src/config/read-master-keys.ts')) +
    (await read('src/config/proxy.ts'))
  const variables = new Set(codeIn(source, /\bread\w*\('([A-Z_]+)'/g))
  t.ok(variables.size > 10, `${variables.size} variables`)
  const table = (await read('README.md')).split('## Configuration')[1]?.split('\n## ')[0] ?? ''
  const firstCells = table.split('\n').flatMap((line) => /^\| (`[^|]+) \|/.exec(line)?.[1] ?? [])
  t.same(codeIn(firstCells.join(), /`([A-Z_]+)`/g).sort(), [...variables].sort())

  const example = codeIn(await read('.env.example'), /^#?([A-Z_]+)=/gm)
  const ofCompose = ['BROKER_PORT']
  t.same(
    example.filter((name) => !variables.has(name) && !ofCompose.includes(name)),
    [],
  )
})

t.test('the architecture shows the floors that the import rules assert', async (t) => {
  const table = (await read('docs/architecture.md')).split('## Data flow')[0] ?? ''
  const rows = table.split('\n').flatMap((line) => {
    const [, floor, rooms] = /^\| ([a-z]*) ?\| (`[^|]+) \|/.exec(line) ?? []
    return rooms === undefined ? [] : [{ floor, rooms: codeIn(rooms, /`([^`]+)`/g) }]
  })
  const floors: string[][] = []
  for (const { floor, rooms } of rows) {
    if (floor) floors.push(rooms)
    else floors.at(-1)?.push(...rooms)
  }
  t.same(floors, FLOORS)
})

t.test(
  'the architecture names the files to read first, and answers each question with files that exist',
  async (t) => {
    const text = await read('docs/architecture.md')
    const section = (title: string) => text.split(`## ${title}\n`)[1]?.split('\n## ')[0] ?? ''
    const first = codeIn(section('Read these five files first'), /^\| \[`([^`]+)`\]/gm)
    t.equal(first.length, 5)
    const rows = section('Where to look')
      .split('\n')
      .filter((line) => /^\| .*\?/.test(line))
    t.ok(rows.length >= 10, `${rows.length} questions`)
    for (const row of rows) {
      const files = codeIn(row, /`((?:src|test)\/[^`]+)`/g)
      t.ok(files.length > 0, row)
      first.push(...files)
      const code = (await Promise.all(files.map((file) => read(file).catch(() => '')))).join()
      for (const name of codeIn(row, /`([A-Za-z_]+)`/g))
        t.ok(code.includes(name), `${name} is in those files`)
    }
    for (const file of first) t.ok(await stat(join(ROOT, file)).catch(() => undefined), file)
  },
)

t.test('a lease is called a lease: the word grant is for what OAuth issues', async (t) => {
  const folders = ['src', 'docs', 'bench', 'demo', 'test', '.github']
  const names = await Promise.all(
    folders.map(async (folder) => {
      const found = await readdir(join(ROOT, folder), { recursive: true })
      return found.filter((name) => /\.(ts|md|eta)$/.test(name)).map((name) => `${folder}/${name}`)
    }),
  )
  const files = ['README.md', 'CHANGELOG.md', 'openapi.yaml', ...names.flat()].filter(
    (name) => name !== 'test/docs.test.ts',
  )
  t.ok(files.length > 100, `${files.length} files`)
  for (const file of files) t.notMatch(await read(file), GRANTED_LEASE, file)
})

t.test('the architecture says of every column that could hold a secret how it is kept', async (t) => {
  const text = await read('docs/architecture.md')
  const { db } = await createTestDatabase(t)
  const tables = await db.introspection.getTables()
  const columns = tables
    .filter(({ schema }) => schema === 'public')
    .flatMap(({ name, columns }) => columns.map((column) => ({ table: name, ...column })))
    .filter(
      ({ name, dataType }) =>
        /token|secret|key|grant|jwe|sha256/.test(name) && /^(text|bytea)$/.test(dataType),
    )
    .filter(({ name }) => name !== 'token_kind')
    .map(({ table, name }) => `${table}.${name}`)
  t.ok(columns.length >= 7, columns.join())
  for (const column of columns) t.match(text, `| \`${column}\` |`)
})
