import t from 'tap'
import { hasNextPage } from '../../src/gitlab/listings.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { list, PROJECTS, sync } from '../support/projects.ts'

const HOME = 'https://gitlab.example.com/api/v4/projects'
const MANY = 130

t.test('whether a list goes on', async (t) => {
  const next = `<${HOME}?id_after=7>; rel="next"`
  for (const [headers, count, goesOn] of [
    [{ link: next }, 3, true],
    [{ link: `<${HOME}?page=1>; rel="first", ${next}` }, 3, true],
    [{ link: `<${HOME}?id_after=7>; Rel = next; title="more"` }, 3, true],
    [{ link: `<${HOME}?id_after=7>;title="x";rel="last next"` }, 3, true],
    [{ link: next, 'x-next-page': '' }, 3, true],
    [{ link: `<${HOME}?rel=next>; rel="first"` }, 3, false],
    [{ link: `<${HOME}>; rel="nextish"` }, 3, false],
    [{ 'x-next-page': '2' }, 3, true],
    [{ 'x-next-page': '' }, 100, false],
    [{ 'x-next-page': '0' }, 100, false],
    [{}, 100, true],
    [{}, 99, false],
    [{}, 0, false],
    [{}, 130, false],
  ] as const)
    t.equal(hasNextPage(headers, { count, perPage: 100 }), goesOn, `${count} ${JSON.stringify(headers)}`)
})

t.test('a gateway that leaves out headers, or shortens pages, hides no project', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const { features } = simulator.world
  for (let index = 2; index < MANY; index += 1)
    simulator.world.addProject({ fullPath: `acme/platform/project-${index}` })
  const whole = await connectToken(stage)
  const limited = await connectToken(stage, { username: 'tom', group: 'acme' })
  for (const [headers, mostPerPage, pages] of [
    ['all', 100, 2],
    ['link', 100, 2],
    ['number', 100, 2],
    ['none', 100, 2],
    ['all', 50, 3],
    ['link', 50, 3],
    ['number', 50, 3],
  ] as const)
    for (const [id, path] of [
      [whole.id, PROJECTS],
      [limited.id, /^\/api\/v4\/groups\/[^/]+\/projects$/],
    ] as const) {
      const what = `${headers} ${mostPerPage} ${path}`
      features.paging = { headers, mostPerPage }
      simulator.requests.clear()
      t.match(await sync(stage, id), { state: 'done', projects: MANY, error: null }, what)
      t.equal(simulator.requests.count({ path }), pages, what)
      t.equal(
        (await list(stage, `/v1/connections/${id}/projects?missing=false&limit=100`)).length,
        MANY,
        what,
      )
    }
})

t.test('a server that knows no pages is asked once', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const { id } = await connectToken(stage)
  const all = Array.from({ length: 250 }, (_, index) => ({
    id: index + 1,
    path_with_namespace: `acme/project-${index}`,
  }))
  const effect = { kind: 'status', status: 200, body: JSON.stringify(all) } as const
  simulator.faults.add({ match: { path: PROJECTS }, times: Infinity, effect })
  t.match(await sync(stage, id), { state: 'done', projects: 250, error: null })
  t.equal(simulator.requests.count({ path: PROJECTS }), 1)
})
