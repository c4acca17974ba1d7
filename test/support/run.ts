// npm test: the static checks, then every test file on one PostgreSQL that lives as long as the run.
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startCluster } from './postgres.ts'

/** Where .ci/run reads how a run of everything ended. */
const TOTALS_FILE = '.tap/totals'
/** tap's own last line but one, such as `# { total: 5, pass: 2, fail: 2, skip: 1 }`. */
const SUMMARY = /^# \{ total: \d+, pass: (?<pass>\d+)(?:, fail: (?<fail>\d+))?.*\}$/m
/** A refused assertion with its diagnostics: where, what was expected, what was found. */
const FAILURE = /^ *not ok .*\n +---\n[\s\S]*?\n +\.\.\.$/gm

const run = (command: string, args: string[], env: NodeJS.ProcessEnv): Promise<number> =>
  new Promise((resolve) => {
    const child = spawn(command, args, { stdio: 'inherit', env })
    child.once('exit', (code) => resolve(code ?? 1))
    child.once('error', () => resolve(1))
  })

/** Tells an assertion, an error or a time-out from the tests and files around it, which fail with it. */
const HAS_CAUSE = /^ +(diff|found|stack|expired|timeout):/m

/** tap lists the failures of a run without a terminal, but not what is wrong in each. */
const showFailures = (report: string): void => {
  const failures = (report.match(FAILURE) ?? []).filter((failure) => HAS_CAUSE.test(failure))
  if (!process.stdout.isTTY && failures.length > 0) console.error(`\n${failures.join('\n\n')}`)
}

const runTap = async (chosen: string[]): Promise<{ status: number; passed: number; failed: number }> => {
  const folder = await mkdtemp(join(tmpdir(), 'gtb-tap-'))
  const reportFile = join(folder, 'report.tap')
  const cluster = await startCluster()
  // CI keeps the reporter from redrawing lines that no terminal shows.
  const quiet = process.stdout.isTTY ? {} : { CI: 'true' }
  const env = { ...process.env, ...quiet, TEST_CLUSTER_URL: cluster.url }
  const status = await run('tap', ['run', '--reporter=base', `--output-file=${reportFile}`, ...chosen], env)
  await cluster.stop()
  const report = await readFile(reportFile, 'utf8').catch(() => '')
  await rm(folder, { recursive: true, force: true })
  showFailures(report)
  const { pass = 0, fail = 0 } = SUMMARY.exec(report)?.groups ?? {}
  return { status, passed: Number(pass), failed: Math.max(Number(fail), status === 0 ? 0 : 1) }
}

const chosen = process.argv.slice(2)
const checked = chosen.length > 0 ? 0 : await run(process.execPath, ['scripts/check.ts'], process.env)
const { status, passed, failed } =
  checked === 0 ? await runTap(chosen) : { status: checked, passed: 0, failed: 1 }
const totals = `${passed} passed, ${failed} failed`
if (chosen.length === 0) {
  await mkdir('.tap', { recursive: true })
  await writeFile(TOTALS_FILE, `${totals}\n`)
}
console.log(`\n${totals}`)
process.exit(status)
