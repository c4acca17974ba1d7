import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import type { Role } from '../src/db/tables.ts'
import { type Call, createFixtures, type Fixtures, type Row, TABLE } from './support/authorization-table.ts'
import { type Answer, type Stage, setStage } from './support/broker.ts'
import { type Caller, type CallerName, createCallers, HOME } from './support/callers.ts'
import { operationsOf } from './support/operations.ts'
import { formsOf } from './support/page-forms.ts'

const ROOT = join(import.meta.dirname, '..')
const PAGE = join(ROOT, 'docs/security.md')
const RANK: Record<Role, number> = { scanner: 1, manager: 2, admin: 3 }

const isHome = ({ organizations }: Caller): boolean =>
  organizations.includes(HOME) || organizations.includes('*')

/** The status of the refusal that the table tells of, worked out without any code of the service; undefined = allowed. */
const refusalFor = ({ needs, within, refused = 401, elsewhere }: Row, caller: Caller): number | undefined => {
  switch (needs) {
    case 'nothing':
      return undefined
    case 'visitor':
      if (caller.kind === 'guest') return undefined
      if (caller.kind === 'member') return isHome(caller) ? undefined : elsewhere
      return refused
    case 'guest':
      return caller.kind === 'guest' ? undefined : refused
    case 'member':
      if (caller.kind !== 'member') return refused
      return isHome(caller) ? undefined : elsewhere
    default:
      if (caller.role === undefined) return 401
      if (RANK[caller.role] < RANK[needs]) return 403
      if (within === 'shared' && !caller.organizations.includes('*')) return 403
      return within === 'thing' && !isHome(caller) ? 404 : undefined
  }
}

/** All that an operation could change, but for the record of who tried. */
const TABLES = [
  'instances',
  'oauth_apps',
  'access_keys',
  'connect_sessions',
  'authorization_requests',
  'connections',
  'leases',
]
const contentOf = async ({ broker, simulator }: Stage): Promise<string> => {
  const sums = TABLES.map(
    (table) => `(select coalesce(sum(hashtextextended(t::text, 0)), 0) from ${table} t)::text`,
  )
  const { rows } = await sql
    .raw(`select ${sums.map((sum, index) => `${sum} as "${TABLES[index]}"`)}`)
    .execute(broker.db)
  return JSON.stringify([rows, simulator.requests.all().length])
}

const remembered = (make: Fixtures): Fixtures => {
  const made = new Map<string, Promise<unknown>>()
  return new Proxy(make, {
    get: (target, name: keyof Fixtures) => () => {
      const known = made.get(name) ?? target[name]()
      made.set(name, known)
      return known
    },
  })
}

const ask = async (
  { broker }: Stage,
  method: string,
  path: string,
  { key, cookie }: { key: string | null; cookie: string | undefined },
  { body, form, text }: Pick<Call, 'body' | 'form' | 'text'> = {},
): Promise<Answer> =>
  broker.request(method, path, {
    key,
    ...(body ? { body } : {}),
    ...(text ? { rawBody: text } : {}),
    ...(form && method === 'POST' ? { rawBody: new URLSearchParams(form).toString() } : {}),
    headers: {
      ...(cookie ? { cookie } : {}),
      ...(form ? { 'content-type': 'application/x-www-form-urlencoded' } : {}),
      'sec-fetch-site': 'same-origin',
    },
  })

/** What the page puts into the form that leads to a path; of a page that shows none, what it puts into any other. */
const hiddenFields = async (
  { broker }: Stage,
  page: string,
  path: string,
  cookie: string | undefined,
): Promise<Record<string, string>> => {
  const { text } = await broker.get(page, { key: null, headers: cookie ? { cookie } : {} })
  const other = (await broker.get('/connect', { key: null, headers: cookie ? { cookie } : {} })).text
  const forms = [...formsOf(text), ...formsOf(other)]
  const form = forms.find(({ action }) => action.endsWith(path)) ?? forms[0]
  return form?.fields.session === undefined ? {} : { session: form.fields.session }
}

/** What a HEAD may answer: what GET does, or that there is none. */
const isHeadOf = (get: number, head: number): boolean => [get, 404, 405].includes(head)

/** `yes`, or the status with which a caller was refused. */
type Told = Partial<Record<CallerName, string>>
type Seen = Record<string, Told>

/** Without more than a caller shows here, such as a receipt, nobody gets anything. */
const isRefusalOfAll = ({ needs, answers }: Row): boolean => needs === 'nothing' && answers >= 400

t.test('a lease of one scanner is nothing to another of the same organization', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const [first, second] = [
    await broker.createKey('scanner', [HOME]),
    await broker.createKey('scanner', [HOME]),
  ]
  const id = await createFixtures(stage).lease(first)
  for (const [method, path] of [
    ['POST', `/v1/leases/${id}/rejection`],
    ['DELETE', `/v1/leases/${id}`],
    ['GET', `/v1/leases/${id}/receipt`],
  ] as const)
    t.equal((await broker.request(method, path, { key: second })).status, 404)
  t.equal((await broker.request('DELETE', `/v1/leases/${id}`, { key: first })).status, 204)
})

t.test('who may do what', async (t) => {
  const stage = await setStage(t)
  const operations = operationsOf(stage.broker.app)
  const callers = await createCallers(stage)

  t.test('has a row for every operation, of openapi.yaml and beside it, and for no other', async (t) => {
    t.ok(operations.length > 50, `${operations.length} operations`)
    t.same(
      operations.filter((operation) => !(operation in TABLE)),
      [],
      'an operation without a row: test/support/authorization-table.ts',
    )
    t.same(
      Object.keys(TABLE).filter((operation) => !operations.includes(operation)),
      [],
      'a row without an operation',
    )
    const { paths } = parse(await readFile(join(ROOT, 'openapi.yaml'), 'utf8')) as {
      paths: Record<string, Record<string, unknown>>
    }
    for (const [path, methods] of Object.entries(paths))
      for (const method of Object.keys(methods)) {
        const operation = `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`
        t.ok(operation in TABLE, operation)
      }
  })

  const seen: Seen = {}
  const make = createFixtures(stage)
  const shared = remembered(make)
  const { id: ofHome } = await shared.connection()
  for (const operation of operations.filter((name) => name in TABLE)) {
    const row = TABLE[operation] as Row
    await t.test(operation, async (t) => {
      seen[operation] = await tryAll(t, stage, operation, row, callers, { make, shared, ofHome })
    })
  }

  t.test('is told in docs/security.md', async (t) => {
    const page = await readFile(PAGE, 'utf8')
    const table = toMarkdown(seen, callers)
    const written = page.replace(SECTION, () => `${BEGIN}\n\n${table}\n\n${END}`)
    if (process.env.TAP_SNAPSHOT === '1') await writeFile(PAGE, written)
    else t.equal(page, written, 'else: TAP_SNAPSHOT=1 npm test -- test/authorization.test.ts')
  })
})

const tryAll = async (
  t: Test,
  stage: Stage,
  operation: string,
  row: Row,
  callers: Caller[],
  { make, shared, ofHome }: { make: Fixtures; shared: Fixtures; ofHome: string },
): Promise<Told> => {
  const [method = '', pattern = ''] = operation.split(' ')
  const told: Told = {}
  for (const caller of callers) {
    const refusal = refusalFor(row, caller)
    const isAllowed = refusal === undefined
    // Who may changes what there is: each gets things of its own.
    const { path = pattern, ...more } =
      (await row.call?.(isAllowed && (method !== 'GET' || row.isOwn) ? make : shared, caller, stage)) ?? {}
    const shown = { key: caller.key, cookie: await caller.cookie?.() }
    if (more.form && more.from)
      more.form = { ...(await hiddenFields(stage, more.from, path, shown.cookie)), ...more.form }
    const before = await contentOf(stage)
    const answer = await ask(stage, method, path, shown, more)
    t.equal(answer.status, refusal ?? row.answers, `${caller.name}: ${answer.text.slice(0, 200)}`)
    told[caller.name] = isAllowed && !isRefusalOfAll(row) ? 'yes' : `${answer.status}`
    if (!isAllowed)
      t.equal(await contentOf(stage), before, `${caller.name}: changes nothing, and asks GitLab nothing`)
    if (row.within === 'list' && answer.status === 200 && !isHome(caller)) {
      t.notMatch(answer.text, ofHome, `${caller.name}: sees nothing of ${HOME}`)
      t.notMatch(answer.text, `"${HOME}"`, `${caller.name}: sees nothing of ${HOME}`)
    }
    if (method !== 'GET' || row.needs === 'nothing') continue
    const unchanged = await contentOf(stage)
    const head = await ask(stage, 'HEAD', path, shown)
    t.ok(isHeadOf(answer.status, head.status), `${caller.name}: HEAD ${head.status}`)
    if (!isAllowed) t.equal(await contentOf(stage), unchanged, `${caller.name}: HEAD changes nothing`)
  }
  return told
}

const BEGIN = '<!-- authorization: written by test/authorization.test.ts -->'
const END = '<!-- end of authorization -->'
const SECTION = new RegExp(`${BEGIN}[\\s\\S]*${END}`)

/** Callers that are told apart nowhere stand in one column. */
const COLUMNS: [title: string, callers: CallerName[]][] = [
  [
    'no valid key',
    ['no key', 'a mistyped key', 'a deleted key', 'an expired key', 'a member whose key was deleted'],
  ],
  ['scanner', ['scanner', 'scanner of several organizations']],
  ['manager', ['manager', 'manager of several organizations']],
  ['admin', ['admin', 'admin of several organizations']],
  ['scanner of `*`', ['scanner of all organizations']],
  ['manager of `*`', ['manager of all organizations']],
  ['admin of `*`', ['admin of all organizations']],
  ['scanner elsewhere', ['scanner of another organization']],
  ['manager elsewhere', ['manager of another organization']],
  ['admin elsewhere', ['admin of another organization']],
  ['connect link', ['a connect link']],
  ['member', ['a member']],
  ['member elsewhere', ['a member of another organization']],
]

const toMarkdown = (seen: Seen, callers: Caller[]): string => {
  const shown = COLUMNS.flatMap(([, names]) => names)
  const missing = callers.filter(({ name }) => !shown.includes(name)).map(({ name }) => name)
  // Of a link, the organization is in the link itself: what another one's does, this one's does too.
  if (missing.join() !== 'a connect link of another organization') throw new Error(`no column for ${missing}`)
  const cells = ([operation, told]: [string, Told]): string => {
    const row = COLUMNS.map(([title, names]) => {
      const all = [...new Set(names.map((name) => told[name]))]
      if (all.length !== 1) throw new Error(`${operation}: ${title} are told apart: ${all}`)
      return all[0]
    })
    return `| \`${operation}\` | ${row.join(' | ')} |`
  }
  return [
    `| operation | ${COLUMNS.map(([title]) => title).join(' | ')} |`,
    `|---|${COLUMNS.map(() => '---').join('|')}|`,
    ...Object.entries(seen).map(cells),
  ].join('\n')
}
