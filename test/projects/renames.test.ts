import t from 'tap'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { until } from '../support/lifecycle.ts'
import { list, PROJECTS, pathsOf, sync } from '../support/projects.ts'

const GROUPS = '/api/v4/groups'

t.test('a group that is renamed while its projects are read loses none', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const { people } = simulator.world
  people.addProjects('acme/many', 150)
  const cases = [
    { what: 'the token of a group', wanted: { kind: 'group', path: 'acme' }, held: PROJECTS },
    { what: 'a group of a person', wanted: { group: 'acme' }, held: GROUPS },
    {
      what: 'a part of the group of a token',
      wanted: { kind: 'group', path: 'acme', group: 'acme/many' },
      held: GROUPS,
    },
  ] as const
  for (const [index, { what, wanted, held }] of cases.entries()) {
    const { answer, id } = await connectToken(stage, { ...wanted, organization: `of-${index}` } as object)
    t.equal(answer.status, 201, `${what}: ${answer.text}`)
    const first = await sync(stage, id)
    t.match(first, { state: 'done', error: null }, what)
    const answered = Promise.withResolvers<void>()
    simulator.faults.add({ match: { path: held }, effect: { kind: 'hold', until: answered.promise } })
    const before = simulator.requests.count({ path: held })
    const running = sync(stage, id)
    await until(() => simulator.requests.count({ path: held }) > before)
    people.move('acme', `acme-${index}`)
    answered.resolve()
    const { projects, groups } = first
    t.match(await running, { state: 'done', projects, groups, error: null }, what)
    for (const kind of ['projects', 'groups'])
      t.same(pathsOf(await list(stage, `/v1/connections/${id}/${kind}?missing=true`)), [], `${what}: ${kind}`)
    people.move(`acme-${index}`, 'acme')
    await broker.request('DELETE', `/v1/connections/${id}`)
  }
})
