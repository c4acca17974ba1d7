import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'

const ROOT = join(import.meta.dirname, '..')
/** Licences that let anybody use, change and pass on the whole, in a product of any kind. */
const PERMISSIVE = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'MIT',
  'MIT-0',
  'Python-2.0',
  'Unlicense',
])
const LEAST_PACKAGES = 80

type Locked = {
  version?: string
  dev?: boolean
  optional?: boolean
  devOptional?: boolean
  optionalDependencies?: Record<string, string>
}
const readJson = async (path: string) => JSON.parse(await readFile(join(ROOT, path), 'utf8'))
const packageJson = await readJson('package.json')
const { packages } = (await readJson('package-lock.json')) as { packages: Record<string, Locked> }

/** One side of an `OR`, or all of an `AND`, has to be permissive (SPDX expressions, as packages write them). */
const isPermissive = (licence: string): boolean => {
  const text = licence.replace(/^\((.*)\)$/, '$1')
  if (text.includes(' OR ')) return text.split(' OR ').some(isPermissive)
  if (text.includes(' AND ')) return text.split(' AND ').every(isPermissive)
  return PERMISSIVE.has(text)
}

t.test('what is permissive is told from what is not', async (t) => {
  for (const licence of ['MIT', '(MIT OR GPL-3.0-only)', 'Apache-2.0 AND BSD-3-Clause'])
    t.ok(isPermissive(licence), licence)
  for (const licence of ['GPL-3.0-only', 'AGPL-3.0', 'MIT AND LGPL-2.1', 'UNLICENSED', 'SSPL-1.0', ''])
    t.notOk(isPermissive(licence), licence)
})

t.test('every package in production has a permissive licence', async (t) => {
  const shipped = Object.entries(packages).filter(
    ([path, { dev, optional, devOptional }]) => path !== '' && !dev && !optional && !devOptional,
  )
  t.ok(shipped.length > LEAST_PACKAGES, `${shipped.length} packages`)
  for (const [path] of shipped) {
    const { license, licenses } = await readJson(`${path}/package.json`)
    const licence = typeof license === 'string' ? license : (license?.type ?? licenses?.[0]?.type ?? '')
    t.ok(isPermissive(licence), `${path}: ${licence || 'no licence'}`)
  }
})

t.test('docs/dependencies.md gives a reason for each dependency, and for no other', async (t) => {
  const text = await readFile(join(ROOT, 'docs/dependencies.md'), 'utf8')
  const named = [...text.matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => name).sort()
  const { dependencies, devDependencies, optionalDependencies } = packageJson
  t.same(named, Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies }).sort())
})

t.test('the lock file names the optional packages of every platform', async (t) => {
  // npm ci refuses a lock file that was written where some of them could not be had.
  const isLocked = (path: string, name: string): boolean => {
    const place = path === '' ? `node_modules/${name}` : `${path}/node_modules/${name}`
    return (
      place in packages ||
      (path !== '' && isLocked(path.replace(/\/?node_modules\/(?:@[^/]+\/)?[^/]+$/, ''), name))
    )
  }
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter((name) => !isLocked(path, name)),
  )
  t.same(missing, [])
})
