import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openDatabase } from '../../src/db/open.ts'
import { ownFolder } from '../../src/db/owner.ts'
import { freePort } from '../support/postgres.ts'
import { startMain } from '../support/process.ts'

t.test(
  'one process works on an embedded database, whatever it is and however the one before ended',
  async (t) => {
    const folder = t.testdir({ data: {} })
    const DATA_DIR = join(folder, 'data')
    const start = async () => startMain(t, { DATA_DIR, PORT: String(await freePort()) })
    const first = await start()
    await first.listening()
    const ownerIsNamed = new RegExp(
      `^The folder ${DATA_DIR} is in use by process ${first.pid} on ${hostname()}, since 20\\S+Z: `,
    )

    const second = await (await start()).ended
    t.equal(second.code, 1)
    t.match(second.errors, ownerIsNamed)
    const migrating = await startMain(t, { DATA_DIR }, { script: ['src/cli.ts', 'migrate'] }).ended
    t.equal(migrating.code, 1)
    t.match(migrating.errors, ownerIsNamed)
    t.throws(() => openDatabase({ databaseUrl: undefined, dataDir: DATA_DIR, poolSize: 1 }), {
      name: 'DataFolderError',
    })

    first.kill('SIGKILL')
    await first.ended
    const third = await start()
    await third.listening()
    t.match(JSON.parse(await readFile(join(DATA_DIR, 'owner.json'), 'utf8')), { pid: third.pid })
    t.match(await third.stop(), { code: 0, errors: '' })
    const after = await startMain(t, { DATA_DIR }, { script: ['src/cli.ts', 'migrate'] }).ended
    t.match(after, { code: 0, output: 'The schema is up to date\n' })
  },
)

t.test('the same process cannot have a folder twice either, and may take it again', async (t) => {
  const folder = t.testdir({})
  const disown = ownFolder(folder)
  t.throws(() => ownFolder(folder), { message: new RegExp(`in use by process ${process.pid} on `) })
  disown()
  ownFolder(folder)()
})
