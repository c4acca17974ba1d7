import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Module, parse } from '@swc/core'

/** Rules about what a source file holds, read from its syntax tree; import-rules.ts has those about what it imports. */

const MOST_LINES_OF_FILE = 300
const MOST_LINES_OF_FUNCTION = 80
/** Measured: what runs, here and in the demo, and what the measurements rest on. */
const MEASURED = ['src', 'simulator', 'demo', 'bench']
/** Texts that people read, and what a generator writes: as long as it is. */
const IS_TEXTS = /(^|\/)(texts\.\w+|generated)\.ts$/

/** Written by nobody but its triggers. */
const BY_TRIGGERS = 'nobody: its triggers write it'
/** The one table of two rooms: `connections` writes who it is and what it is called, `token-lifecycle` the token. */
const CONNECTIONS = {
  table: 'connections',
  identity: 'connections',
  token: 'token-lifecycle',
  /** What the room of the identity may change of a row that is there: settings, and who holds it. */
  settings: ['name', 'auto_rotate', 'labels', 'method', 'gitlab_user_id', 'group_path', 'updated_at'],
  /** What a change of the token leaves alone. */
  fixed: ['id', 'organization', 'instance_id', 'method', 'gitlab_user_id', 'group_path', 'created_at'],
}

/** Which room writes a table, where more than one file could tell. */
export const WRITERS: Record<string, string> = {
  instances: 'instances',
  oauth_apps: 'oauth-apps',
  access_keys: 'access-keys',
  connection_places: 'places',
  connection_projects: 'projects',
  connection_project_paths: 'projects',
  connection_groups: 'projects',
  connection_syncs: 'projects',
  connect_sessions: 'connect-sessions',
  authorization_requests: 'oauth-flow',
  leases: 'leases',
  wrapped_leases: 'leases',
  lease_batches: 'lookup',
  reach_proofs: 'lookup',
  guesses: 'limits',
  instance_refusals: 'weather',
  instance_bans: 'weather',
  incidents: 'weather',
  heartbeats: 'token-lifecycle',
  database_history: 'token-lifecycle',
  trusted_issuers: 'trusted-issuers',
  audit_events: 'audit',
  audit_unsealed: 'audit',
  audit_seals: 'audit',
  lease_slots: 'leases',
  data_keys: 'vault',
  // vault/sealed-column: the room that owns the table names it.
  $: 'vault',
  signing_keys: 'vault',
  directory_versions: BY_TRIGGERS,
}

// biome-ignore lint/suspicious/noExplicitAny: a syntax tree has nodes of many shapes
type Node = any

/** Every node, parents first; `parents` from the outermost down. */
const visit = (node: Node, see: (node: Node, parents: Node[]) => void, parents: Node[] = []): void => {
  if (typeof node !== 'object' || node === null) return
  if (Array.isArray(node)) {
    for (const child of node) visit(child, see, parents)
    return
  }
  see(node, parents)
  for (const child of Object.values(node)) visit(child, see, [...parents, node])
}

type Source = { path: string; lines: number; tree: Module; lineAt(offset: number): number }

const readSource = async (baseDir: string, path: string): Promise<Source> => {
  const text = await readFile(join(baseDir, path), 'utf8')
  // Offsets of swc count on from file to file, and a file begins at its first word: this is its first word.
  const marked = Buffer.from(`;${text}`)
  const tree = await parse(marked.toString(), { syntax: 'typescript', target: 'esnext' })
  const newlines: number[] = []
  for (let at = marked.indexOf('\n'); at !== -1; at = marked.indexOf('\n', at + 1)) newlines.push(at)
  const lineAt = (offset: number): number => {
    const at = offset - tree.span.start
    const next = newlines.findIndex((newline) => newline >= at)
    return (next === -1 ? newlines.length : next) + 1
  }
  return { path, lines: newlines.length, tree, lineAt }
}

/** Name and length of every function longer than allowed. */
const longFunctionsOf = ({ tree, lineAt }: Source): { name: string; lines: number }[] => {
  const found: { name: string; lines: number }[] = []
  visit(tree, (node, parents) => {
    if (!/(Function|Method|Constructor)/.test(node.type ?? '') || !node.body || !node.span) return
    const lines = lineAt(node.span.end) - lineAt(node.span.start) + 1
    if (lines <= MOST_LINES_OF_FUNCTION) return
    const named = [node, ...parents.toReversed()].find(
      ({ type, id, identifier }) => identifier || (type === 'VariableDeclarator' && id?.value),
    )
    found.push({ name: named?.identifier?.value ?? named?.id?.value ?? '(anonymous)', lines })
  })
  return found
}

type Write = { verb: 'insert' | 'update' | 'delete'; table: string; columns: string[] | undefined }

const KYSELY = new Map<string, Write['verb']>([
  ['insertInto', 'insert'],
  ['replaceInto', 'insert'],
  ['mergeInto', 'update'],
  ['updateTable', 'update'],
  ['deleteFrom', 'delete'],
])

const RAW: [Write['verb'], RegExp][] = [
  ['insert', /\binsert\s+into\s+(?:only\s+)?"?([\w$]+)"?/gi],
  [
    'update',
    /\b(?:update|merge\s+into)\s+(?:only\s+)?"?([\w$]+)"?\s+(?:as\s+\w+\s+|\w+\s+)?(?:set|using)\b/gi,
  ],
  ['delete', /\bdelete\s+from\s+(?:only\s+)?"?([\w$]+)"?/gi],
  ['delete', /\btruncate\s+(?:table\s+)?"?([\w$]+)"?/gi],
]

const setColumns = (statement: string): string[] => {
  const [, list = ''] = /\bset\b([\s\S]*?)(\bwhere\b|\bfrom\b|\breturning\b|$)/i.exec(statement) ?? []
  return [...list.matchAll(/(?:^|,)\s*"?(\w+)"?\s*=/g)].map(([, column = '']) => column)
}

/** The string literals in a type annotation: of `Partial<Pick<Row, 'a' | 'b'>>` a and b. */
const literalsIn = (annotation: Node): string[] => {
  const literals: string[] = []
  visit(annotation, (node) => {
    if (node.type === 'TsLiteralType' && node.literal.type === 'StringLiteral')
      literals.push(node.literal.value)
  })
  return literals
}

/** What `.set(...)` names; undefined = its columns cannot be told from the text. */
const columnsOf = (set: Node, parents: Node[]): string[] | undefined => {
  if (set?.type !== 'ObjectExpression') return undefined
  const columns: string[] = []
  for (const property of set.properties) {
    if (property.type === 'KeyValueProperty' && property.key.value !== undefined)
      columns.push(property.key.value)
    else if (property.type === 'Identifier') columns.push(property.value)
    else if (property.type === 'SpreadElement' && property.arguments.type === 'Identifier') {
      const parameters = parents.flatMap(({ params }) => params ?? []).map((param) => param.pat ?? param)
      const spread = parameters.find(({ value }) => value === property.arguments.value)
      const literals = spread ? literalsIn(spread.typeAnnotation) : []
      if (literals.length === 0) return undefined
      columns.push(...literals)
    } else return undefined
  }
  return columns
}

/** The calls that follow on the statement that a node begins: of `db.updateTable(...).set(...)` also the second. */
const chainOf = (node: Node, parents: Node[]): Node[] =>
  parents.filter(({ type, span }) => type === 'CallExpression' && span.start === node.span.start)

const writesWithKysely = (node: Node, parents: Node[]): Write[] => {
  const verb = node.type === 'CallExpression' ? KYSELY.get(node.callee.property?.value) : undefined
  if (!verb) return []
  const [first] = node.arguments
  const table = first?.expression.type === 'StringLiteral' ? first.expression.value.split(/\s/)[0] : '?'
  const chain = chainOf(node, parents)
  const set = chain.findLast(({ callee }) => callee.property?.value === 'set')
  const writes: Write[] = [{ verb, table, columns: columnsOf(set?.arguments[0]?.expression, parents) }]
  // An insert that changes the row that is there is a change too.
  visit(chain[0], (inner) => {
    if (inner.type === 'CallExpression' && inner.callee.property?.value === 'doUpdateSet')
      writes.push({ verb: 'update', table, columns: columnsOf(inner.arguments[0]?.expression, parents) })
  })
  return writes
}

const writesInText = (node: Node): Write[] => {
  const text: string =
    node.type === 'TemplateLiteral'
      ? node.quasis.map(({ raw }: Node) => raw).join('$')
      : node.type === 'StringLiteral'
        ? node.value
        : ''
  return RAW.flatMap(([verb, written]) =>
    [...text.matchAll(written)].flatMap(([, table = '?']): Write[] => {
      const change: Write = { verb: 'update', table, columns: setColumns(text) }
      if (verb === 'update') return [change]
      return verb === 'insert' && /\bdo\s+update\s+set\b/i.test(text)
        ? [{ verb, table, columns: undefined }, change]
        : [{ verb, table, columns: undefined }]
    }),
  )
}

const writesOf = ({ tree }: Source): Write[] => {
  const writes: Write[] = []
  visit(tree, (node, parents) => {
    writes.push(...writesWithKysely(node, parents), ...writesInText(node))
  })
  return writes
}

const roomOf = (path: string): string => path.split('/')[1] ?? ''

/** What is wrong with one write; undefined = nothing. */
const faultOf = (room: string, { verb, table, columns }: Write): string | undefined => {
  if (table !== CONNECTIONS.table) {
    if (WRITERS[table] === room) return undefined
    return `a table is written by one room: ${table} by ${WRITERS[table] ?? 'no room that is named'}`
  }
  if (room === CONNECTIONS.identity) {
    if (verb !== 'update') return undefined
    const foreign = columns?.filter((column) => !CONNECTIONS.settings.includes(column)) ?? [
      'what cannot be told',
    ]
    return foreign.length === 0
      ? undefined
      : `${room} changes only who holds a connection and its settings: ${foreign.join(', ')}`
  }
  if (room !== CONNECTIONS.token)
    return `a table is written by one room: ${table} by connections and token-lifecycle`
  if (verb !== 'update') return `${room} changes connections only: ${verb}`
  const identity = columns?.filter((column) => CONNECTIONS.fixed.includes(column)) ?? []
  return identity.length === 0 ? undefined : `${room} leaves the identity alone: ${identity.join(', ')}`
}

export type SourceReport = {
  /** Files that were read, and writes that were found in them: a rule that sees nothing passes. */
  files: number
  writes: { room: string; table: string }[]
  /** `rule: file`. */
  violations: string[]
  /** `file name` -> lines of each function that is too long. */
  longFunctions: Record<string, number>
}

/** Reads every source file below `baseDir` and holds it against the rules. */
export const readSources = async (baseDir: string): Promise<SourceReport> => {
  const there = await readdir(baseDir)
  const report: SourceReport = { files: 0, writes: [], violations: [], longFunctions: {} }
  for (const folder of MEASURED.filter((name) => there.includes(name))) {
    const names = await readdir(join(baseDir, folder), { recursive: true })
    for (const name of names.filter((name) => name.endsWith('.ts')).sort()) {
      const source = await readSource(baseDir, `${folder}/${name}`)
      report.files += 1
      if (source.lines > MOST_LINES_OF_FILE && !IS_TEXTS.test(source.path))
        report.violations.push(`no file past ${MOST_LINES_OF_FILE} lines: ${source.path}`)
      for (const { name, lines } of longFunctionsOf(source))
        report.longFunctions[`${source.path} ${name}`] = lines
      if (folder !== 'src') continue
      for (const write of writesOf(source)) {
        const room = roomOf(source.path)
        report.writes.push({ room, table: write.table })
        const fault = faultOf(room, write)
        if (fault) report.violations.push(`${fault}: ${source.path}`)
      }
    }
  }
  return report
}
