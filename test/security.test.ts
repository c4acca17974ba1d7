import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { sql } from 'kysely'
import t from 'tap'
import { connectByOAuth, setStage } from './support/broker.ts'
import { connectToken } from './support/connect.ts'
import { lookUp } from './support/lifecycle.ts'
import { authorize, callBack, createSession } from './support/oauth.ts'
import { createBrowser } from './support/page-forms.ts'

const ROOT = join(import.meta.dirname, '..')
const text = await readFile(join(ROOT, 'docs/security.md'), 'utf8')
const sectionOf = (title: string): string => text.split(`## ${title}\n`)[1]?.split('\n## ')[0] ?? ''
const cellsOf = (section: string): string[][] =>
  section
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('|---'))
    .map((line) =>
      line
        .replace(/^\||\|$/g, '')
        .split('|')
        .map((cell) => cell.trim()),
    )
const quoted = (cell = ''): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name)

type Kept = { column: string; how: string; key: string }

const KEPT: Kept[] = cellsOf(sectionOf('What is stored, and how'))
  .filter(([table]) => table?.startsWith('`'))
  .flatMap(([table, columns, how = '', key = '']) =>
    quoted(columns).map((column) => ({ column: `${quoted(table)[0]}.${column}`, how, key })),
  )

t.test('every column of every table is told, once, and no other', async (t) => {
  const { broker } = await setStage(t)
  const { rows } = await sql<{ name: string }>`
    select table_name || '.' || column_name as name from information_schema.columns
    where table_schema = 'public' and table_name not like 'kysely\_%' order by 1`.execute(broker.db)
  t.ok(rows.length > 80, `${rows.length} columns`)
  t.same(KEPT.map(({ column }) => column).sort(), rows.map(({ name }) => name).sort())
  for (const { how, column } of KEPT)
    t.ok(['plain', 'hashed', 'encrypted'].includes(how), `${column}: ${how}`)
})

t.test('what is said to be encrypted or hashed is, under that key and bound to that use', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const oauth = await connectByOAuth(stage)
  const { token } = await connectToken(stage)
  await lookUp(stage, oauth)
  await broker.get(`/v1/connections/${oauth}/credential?wrap=true`)
  await broker.createKey('scanner', ['acme'])
  await broker.request('POST', '/v1/credentials/batch', {
    headers: { 'idempotency-key': 'FAKE-batch-1' },
    body: { requests: [{ connection_id: oauth }] },
  })
  // One that waits for GitLab to say whose it is.
  simulator.faults.add({ match: { path: '/oauth/token/info' }, effect: { kind: 'status', status: 503 } })
  const { callback, cookie } = await authorize(stage, { username: 'tom' })
  await callBack(broker, callback, cookie)
  // One whose code nobody has entered yet.
  const browser = createBrowser(broker, broker.publicUrl)
  const { text } = await browser.open(`/connect?session=${await createSession(broker)}`)
  await browser.submit(text, '/connect/device/simulator')
  const valuesOf = async (column: string): Promise<unknown[]> => {
    const { rows } = await sql<{ value: unknown }>`
      select ${sql.ref(column.split('.')[1] ?? '')} as value from ${sql.table(column.split('.')[0] ?? '')}`.execute(
      broker.db,
    )
    return rows.map(({ value }) => value).filter((value) => value !== null)
  }
  for (const { column, how, key } of KEPT) {
    const values = await valuesOf(column)
    if (how === 'plain') {
      t.notMatch(JSON.stringify(values), token, column)
      continue
    }
    t.ok(values.length > 0, `${column}: there is one`)
    for (const value of values) {
      if (how === 'hashed') {
        const hex = Buffer.isBuffer(value) ? value.toString('hex') : String(value)
        t.match(hex, /^[0-9a-f]{64}$/, `${column}: SHA-256`)
        continue
      }
      const [header = '', ...parts] = String(value).split('.')
      t.equal(parts.length, 4, `${column}: JWE`)
      const { alg, enc, use } = JSON.parse(Buffer.from(header, 'base64url').toString())
      t.match(
        { alg, enc },
        key.startsWith('master key') ? { alg: 'A256GCMKW' } : { alg: 'dir', enc: 'A256GCM' },
        column,
      )
      if (use !== undefined) t.ok(quoted(key).includes(use), `${column}: bound to ${use}`)
    }
  }
})

for (const title of ['OWASP ASVS 5.0', 'RFC 9700: OAuth 2.0 security best current practice'])
  t.test(`${title}: each clause is answered by tests that exist`, async (t) => {
    const rows = cellsOf(sectionOf(title)).filter(([clause]) => /^\d/.test(clause ?? ''))
    t.ok(rows.length > 10, `${rows.length} clauses`)
    for (const [clause = '', , answered] of rows) {
      const files = quoted(answered)
      t.ok(files.length > 0, clause)
      for (const file of files) {
        t.match(file, /^test\/.*\.test\.ts$/, clause)
        t.ok(await stat(join(ROOT, file)).catch(() => undefined), `${clause}: ${file}`)
      }
    }
  })

t.test('the threat model names files that exist', async (t) => {
  const files = quoted(sectionOf('Threat model')).filter((name) => name.startsWith('src/'))
  t.ok(files.length > 5)
  for (const file of files) t.ok(await stat(join(ROOT, file)).catch(() => undefined), file)
})
