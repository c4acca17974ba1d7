// npm run test:fuzz -- [--requests N] [--seed S]: requests of any kind, made from openapi.yaml.
import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const { values } = parseArgs({ options: { requests: { type: 'string' }, seed: { type: 'string' } } })
const requests = Number(values.requests ?? 10_000)
const seed = values.seed === undefined ? randomInt(1_000_000) : Number(values.seed)
if (!(Number.isInteger(requests) && requests > 0 && Number.isInteger(seed))) {
  console.error('Usage: npm run test:fuzz -- [--requests WHOLE_NUMBER] [--seed WHOLE_NUMBER]')
  process.exit(2)
}
const root = join(import.meta.dirname, '../..')
console.log(`${requests} requests, seed ${seed}`)
const child = spawn(process.execPath, ['test/support/run.ts', 'test/fuzz/fuzz.test.ts'], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, FUZZ_REQUESTS: String(requests), FUZZ_SEED: String(seed) },
})
child.once('exit', (code) => process.exit(code ?? 1))
