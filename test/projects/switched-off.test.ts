import t from 'tap'
import { setStage, startTestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { list, pathsOf, sync } from '../support/projects.ts'

t.test('SYNC_PROJECTS=off: nothing is read, what was read stays, and lookups go on', async (t) => {
  const stage = await setStage(t)
  const { simulator, clock } = stage
  simulator.world.addProject({ fullPath: 'globex/secret' })
  const read = await connectToken(stage, { username: 'tom' })
  t.match(await sync(stage, read.id), { state: 'done', error: null })
  const projects = pathsOf(await list(stage, '/v1/projects'))
  t.ok(projects.length > 0)
  const reading = await startTestBroker(t, {
    clock,
    database: stage.broker.database,
    config: { syncProjects: 'off' },
  })
  const off = { ...stage, broker: reading }
  clock.advance(2 * 86_400)
  const never = await connectToken(off)
  t.equal(never.answer.status, 201)
  simulator.requests.clear()
  await reading.jobs.syncProjects()

  const path = `/v1/connections/${read.id}/sync`
  const shown = (await reading.get(path)).body
  t.match(shown, { state: 'off', next_run_at: null, projects: projects.length, synced_to: String })
  const refused = await reading.post(path)
  t.match(refused, { status: 409, body: { code: 'sync_disabled', detail: /SYNC_PROJECTS=off/ } })
  t.match((await reading.get(`/v1/connections/${never.id}/sync`)).body, { state: 'off', projects: null })
  const unknown = '/v1/connections/019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c/sync'
  t.equal((await reading.post(unknown)).status, 404)
  t.equal(simulator.requests.count(), 0, 'GitLab is not asked')
  t.same(pathsOf(await list(off, '/v1/projects')), projects)

  const url = encodeURIComponent(`${simulator.url}/globex/secret`)
  const found = await reading.get(`/v1/credentials?url=${url}&organization=acme`)
  t.match(found, { status: 200, body: { connection_id: read.id } }, 'the Git endpoint tells who reaches it')

  t.match(await sync(stage, never.id), { state: 'done' }, 'and on again')
})
