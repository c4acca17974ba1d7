// npm run test:chaos -- --minutes N [--seed S] [--logs FILE]: see docs/token-lifecycle.md for what must hold.
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { runChaos } from './chaos.ts'
import { describe } from './report.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string' },
    engine: { type: 'string', default: 'doorkeeper' },
    logs: { type: 'string' },
  },
})
const minutes = Number(values.minutes)
const seed = values.seed === undefined ? randomInt(1_000_000) : Number(values.seed)
const { engine } = values
if (!(minutes > 0) || !Number.isInteger(seed) || (engine !== 'doorkeeper' && engine !== 'fosite')) {
  console.error(
    'Usage: npm run test:chaos -- --minutes N [--seed WHOLE_NUMBER] [--engine doorkeeper|fosite] [--logs FILE]',
  )
  process.exit(2)
}

const report = await runChaos({
  seconds: minutes * 60,
  seed,
  // A shorter run is for a quick look.
  untilMarked: minutes >= 5,
  engine,
  logFile: values.logs,
  say: (line) => console.log(line),
})
console.log(`\n${describe(report)}`)
process.exit(report.violations.length > 0 ? 1 : 0)
