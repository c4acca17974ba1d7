// npm test: the static checks, then every test file on one PostgreSQL that lives as long as the run.
import { spawn } from 'node:child_process'
import { startCluster } from './postgres.ts'

const run = (command: string, args: string[], env: NodeJS.ProcessEnv): Promise<number> =>
  new Promise((resolve) => {
    const child = spawn(command, args, { stdio: 'inherit', env })
    child.once('exit', (code) => resolve(code ?? 1))
    child.once('error', () => resolve(1))
  })

const chosen = process.argv.slice(2)
const checked = chosen.length > 0 ? 0 : await run(process.execPath, ['scripts/check.ts'], process.env)
if (checked !== 0) process.exit(checked)

const cluster = await startCluster()
const status = await run('tap', ['run', ...chosen], { ...process.env, TEST_CLUSTER_URL: cluster.url })
await cluster.stop()
process.exit(status)
