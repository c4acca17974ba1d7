// npm run fix: writes src/client/generated.ts anew from openapi.yaml, by oazapfts.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const root = join(import.meta.dirname, '..')
const target = join(root, 'src/client/generated.ts')
const HEADER = `// @ts-nocheck -- generated from openapi.yaml by oazapfts: npm run fix writes it anew. Its types hold for whoever imports.
`

const generate = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'gtb-client-'))
  try {
    const file = join(folder, 'generated.ts')
    const args = [join(root, 'openapi.yaml'), file, '--include', 'Credentials', '--futureStripLegacyMethods']
    await promisify(execFile)(join(root, 'node_modules/.bin/oazapfts'), args)
    const text = await readFile(file, 'utf8')
    // Where the service is, the caller says.
    return HEADER + text.replace(/baseUrl: "[^"]*"/, 'baseUrl: ""').replace(/^ \* v?\d[\w.]*\n/m, '')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const text = await generate()
if (process.argv.includes('--check')) {
  if ((await readFile(target, 'utf8').catch(() => '')) !== text) {
    console.error('src/client/generated.ts is not what openapi.yaml describes: npm run fix writes it anew.')
    process.exitCode = 1
  }
} else await writeFile(target, text)
