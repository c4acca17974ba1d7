import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createTestDatabase } from './support/database.ts'
import { freePort } from './support/postgres.ts'

const ROOT = join(import.meta.dirname, '..')
const STEPS = 11

type Demo = { child: ChildProcess; output(): string; ended: Promise<number | null>; folder: string }

/** The demo in a process of its own, on free ports, with a temporary folder that can be looked into. */
const startDemo = async (t: Test, args: string[], env: Record<string, string> = {}): Promise<Demo> => {
  const folder = t.testdir()
  const { DATABASE_URL: _unset, ...inherited } = process.env
  const child = spawn(process.execPath, ['demo/main.ts', ...args], {
    cwd: ROOT,
    env: {
      ...inherited,
      TMPDIR: folder,
      PORT: String(await freePort()),
      SIMULATOR_PORT: String(await freePort()),
      ...env,
    },
  })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  const ended = once(child, 'close').then(([code]) => code as number | null)
  return { child, output: () => text, ended, folder }
}

/** Waits for the next lines; a demo that has ended will print no more. */
const untilMore = ({ child, ended, output }: Demo): Promise<unknown> =>
  Promise.race([
    once(child.stdout!, 'data'),
    ended.then((code) => {
      throw new Error(`the demo ended with ${code}: ${output()}`)
    }),
  ])

const proves = (t: Test, { output }: Demo): void => {
  const numbers = [...output().matchAll(/^ ?(\d+) {2}\S/gm)].map(([, number]) => Number(number))
  t.same(
    numbers,
    Array.from({ length: STEPS }, (_, index) => index + 1),
  )
  t.match(output(), 'Every step did what it says.')
  t.notMatch(output(), new RegExp(String.fromCharCode(27)), 'no colours without a terminal')
}

t.test('the tour passes on the embedded database, and both servers stay up until Ctrl-C', async (t) => {
  const port = await freePort()
  const demo = await startDemo(t, [], { PORT: String(port) })
  while (!demo.output().includes('Ctrl-C ends both')) await untilMore(demo)
  proves(t, demo)
  t.equal((await fetch(`http://127.0.0.1:${port}/readyz`)).status, 200)
  const link = /Connect an account +(\S+)/.exec(demo.output())?.[1]
  t.match(link, /\/connect\?session=/)
  demo.child.kill('SIGINT')
  t.equal(await demo.ended, 0)
  t.same(await readdir(demo.folder), [], 'nothing is left behind')
})

t.test('with --once it ends; on PostgreSQL it makes a database of its own', async (t) => {
  const { url, db } = await createTestDatabase(t)
  const demo = await startDemo(t, ['--once'], { DATABASE_URL: url })
  t.equal(await demo.ended, 0, demo.output())
  proves(t, demo)
  t.match(demo.output(), /PostgreSQL \(database gtb_demo_\w+\)/)
  t.same(
    await db.selectFrom('connections').selectAll().execute(),
    [],
    'the database it was given is untouched',
  )
  t.same(await readdir(demo.folder), [], 'nothing is left behind')
})

t.test('a port that is taken is named, with the way out', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }
  for (const name of ['PORT', 'SIMULATOR_PORT']) {
    const { ended, output, folder } = await startDemo(t, ['--once'], { [name]: String(port) })
    t.equal(await ended, 1)
    t.match(output(), `Port ${port} of 127.0.0.1 is taken.`)
    t.match(output(), `${name}=<port> npm run demo`)
    t.same(await readdir(folder), [])
  }
})
