import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cruise, type ICruiseResult, type IForbiddenRuleType } from 'dependency-cruiser'

/** From the entry down; a room imports only from floors below its own, types included. */
export const FLOORS = [
  ['main.ts', 'cli.ts'],
  ['commands'],
  ['start.ts'],
  ['app.ts'],
  ['wiring'],
  ['sealed-tables.ts'],
  ['git-credential', 'preflight', 'oauth-flow', 'connect-page', 'jobs'],
  ['lookup'],
  ['projects'],
  ['leases', 'connections', 'connect-sessions'],
  ['token-lifecycle'],
  ['places'],
  ['weather'],
  ['oauth-apps'],
  ['instances'],
  ['trusted-issuers'],
  ['access-keys'],
  ['audit'],
  ['callers'],
  ['limits'],
  ['gitlab', 'vault', 'http'],
  ['db'],
  ['config', 'errors', 'clock', 'log.ts', 'coalesce.ts', 'lanes.ts', 'share.ts'],
  ['pasted'],
  ['client'],
]

/** Where code of ours is; what is not there is not looked at. */
const FOLDERS = ['src', 'migrations', 'simulator', 'demo', 'bench', 'scripts', 'test']

const pattern = (rooms: string[]): string =>
  `^src/(${rooms.map((room) => (room.endsWith('.ts') ? `${room.replace('.', '\\.')}$` : `${room}/`)).join('|')})`

const floorRules: IForbiddenRuleType[] = FLOORS.flatMap((rooms, floor) =>
  rooms.map((room) => ({
    name: `${room} imports only from floors below it`,
    severity: 'error' as const,
    from: { path: pattern([room]) },
    to: { path: '^(src|migrations)/', pathNot: pattern([room, ...FLOORS.slice(floor + 1).flat()]) },
  })),
)

const RULES: IForbiddenRuleType[] = [
  ...floorRules,
  {
    name: 'every room has a floor',
    severity: 'error',
    from: { path: '^src/', pathNot: pattern(FLOORS.flat()) },
    to: {},
  },
  {
    name: 'src imports nothing that only development has',
    severity: 'error',
    from: { path: '^src/' },
    to: { path: '^(test|simulator|demo|bench|scripts)/' },
  },
  {
    name: 'src imports no package that only development has',
    severity: 'error',
    from: { path: '^(src|migrations)/' },
    // A type package next to a production one is erased with the types.
    to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
  },
  {
    // Types included: two files that name each other's types can only be read together.
    name: 'no circles',
    severity: 'error',
    from: {},
    to: { circular: true },
  },
  {
    name: 'everything imported exists',
    severity: 'error',
    from: {},
    to: { couldNotResolve: true },
  },
]

/** What starts a statement with Kysely; a connection or transaction may be passed on anywhere. */
const STATEMENT =
  /\.(selectFrom|insertInto|updateTable|deleteFrom|mergeInto|replaceInto)\(|\bsql(\.\w+)?(<[^>]*>)?[`(]/
const MAY_HOLD_SQL = /^src\/(.*\/)?queries\.ts$|^src\/db\//

export type ImportGraph = {
  /** Of our own; not of packages or Node. */
  modules: string[]
  imports: number
  /** `rule: from -> to`. */
  violations: string[]
}

/** Reads the imports of all our folders below `baseDir` and holds them against the rules. */
export const readImportGraph = async (baseDir: string): Promise<ImportGraph> => {
  const there = await readdir(baseDir)
  const { output } = await cruise(
    FOLDERS.filter((folder) => there.includes(folder)),
    {
      baseDir,
      // TypeScript 7 has no API for dependency-cruiser: without another parser it would see nothing, and pass.
      parser: 'swc',
      tsPreCompilationDeps: true,
      doNotFollow: { path: 'node_modules' },
      validate: true,
      ruleSet: { forbidden: RULES },
    },
    { exportsFields: ['exports'], conditionNames: ['node', 'import', 'default'] },
  )
  const { modules: all, summary } = output as ICruiseResult
  const own = all.filter(({ source }) => FOLDERS.includes(source.split('/')[0] ?? ''))
  const withSql = await Promise.all(
    own
      .filter(({ source }) => source.startsWith('src/') && !MAY_HOLD_SQL.test(source))
      .map(async ({ source }) =>
        STATEMENT.test(await readFile(join(baseDir, source), 'utf8')) ? [source] : [],
      ),
  )
  return {
    modules: own.map(({ source }) => source),
    imports: own.reduce((count, { dependencies }) => count + dependencies.length, 0),
    violations: [
      ...summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`),
      ...withSql.flat().map((source) => `SQL only in queries.ts and db/: ${source}`),
    ].sort(),
  }
}
