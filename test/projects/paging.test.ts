import t from 'tap'
import { onwardOf } from '../../src/gitlab/listings.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { list, PROJECTS, sync } from '../support/projects.ts'

const HOME = 'https://gitlab.example.com/api/v4/projects'
const MANY = 130
const ASSOCIATIONS = /self\/associations/

t.test('whether a list goes on', async (t) => {
  const next = `<${HOME}?id_after=7>; rel="next"`
  for (const [headers, count, onward] of [
    [{ link: next }, 3, 'yes'],
    [{ link: `<${HOME}?page=1>; rel="first", ${next}` }, 3, 'yes'],
    [{ link: `<${HOME}?id_after=7>; Rel = next; title="more"` }, 3, 'yes'],
    [{ link: `<${HOME}?id_after=7>;title="x";rel="last next"` }, 3, 'yes'],
    [{ link: next, 'x-next-page': '' }, 3, 'yes'],
    [{ link: `<${HOME}?rel=next>; rel="first"` }, 3, 'no'],
    [{ link: `<${HOME}?page=1>; rel="first"` }, 100, 'no'],
    [{ link: '</style.css>; rel=preload' }, 3, 'untold'],
    [{ link: `<${HOME}>; rel="nextish"` }, 3, 'untold'],
    [{ 'x-next-page': '2' }, 3, 'yes'],
    [{ 'x-next-page': '' }, 100, 'no'],
    [{ 'x-next-page': '0' }, 100, 'no'],
    [{}, 100, 'untold'],
    [{}, 99, 'untold'],
    [{}, 0, 'no'],
    [{}, 130, 'no'],
  ] as const)
    t.equal(onwardOf(headers, { count, perPage: 100 }), onward, `${count} ${JSON.stringify(headers)}`)
})

t.test('a gateway that leaves out headers, or shortens pages, hides no project', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const { features } = simulator.world
  for (let index = 2; index < MANY; index += 1)
    simulator.world.addProject({ fullPath: `acme/platform/project-${index}` })
  const whole = await connectToken(stage)
  const limited = await connectToken(stage, { username: 'tom', group: 'acme' })
  // By id GitLab's last page is empty, by number the last one says so; without headers each list ends with an empty page.
  for (const [headers, mostPerPage, byId, byNumber] of [
    ['all', 100, 3, 2],
    ['link', 100, 3, 2],
    ['number', 100, 2, 2],
    ['none', 100, 3, 3],
    ['all', 50, 4, 3],
    ['link', 50, 4, 3],
    ['number', 50, 3, 3],
    ['none', 50, 4, 4],
    ['none', 20, 8, 8],
  ] as const)
    for (const [id, path, pages] of [
      [whole.id, PROJECTS, byId],
      [limited.id, /^\/api\/v4\/groups\/[^/]+\/projects$/, byNumber],
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

t.test('a server that knows no pages is asked once, or once more', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const whole = await connectToken(stage)
  const limited = await connectToken(stage, { username: 'tom', group: 'acme' })
  for (const [count, calls] of [
    [250, 1],
    [100, 2],
    [30, 2],
    [1, 2],
  ] as const)
    for (const [id, path] of [
      [whole.id, PROJECTS],
      [limited.id, /^\/api\/v4\/groups\/[^/]+\/projects$/],
    ] as const) {
      simulator.faults.clear()
      simulator.requests.clear()
      const all = Array.from({ length: count }, (_, index) => ({
        id: index + 1,
        path_with_namespace: `acme/project-${index}`,
      }))
      const effect = { kind: 'status', status: 200, body: JSON.stringify(all) } as const
      simulator.faults.add({ match: { path }, times: Infinity, effect })
      const what = `${count} ${path}`
      t.match(await sync(stage, id), { state: 'done', error: null, projects_read: count }, what)
      t.equal(simulator.requests.count({ path }), calls, what)
    }
})

t.test('a gateway hides no place of a token that GitLab lists among many', async (t) => {
  const stage = await setStage(t)
  const { simulator } = stage
  const { features } = simulator.world
  const scopes = ['read_repository']
  for (let index = 0; index < 25; index += 1) simulator.world.addGroup({ fullPath: `acme/group-${index}` })
  simulator.world.addGroup({ fullPath: 'zeta', members: ['maria'] })
  for (const [headers, mostPerPage, calls] of [
    ['all', 100, 1],
    ['none', 100, 2],
    ['all', 20, 2],
    ['number', 20, 2],
    ['link', 20, 3],
    ['none', 20, 3],
  ] as const) {
    const what = `${headers} ${mostPerPage}`
    features.paging = { headers, mostPerPage }
    simulator.requests.clear()
    const organization = `${headers}-${mostPerPage}`
    const whole = await connectToken(stage, { organization, scopes })
    t.match(whole.answer, { status: 201, body: { group: null } }, what)
    t.equal(simulator.requests.count({ path: ASSOCIATIONS }), calls, what)
    const named = await connectToken(stage, { organization, scopes, group: 'zeta' })
    t.match(named.answer, { status: 201, body: { group: 'zeta' } }, what)
  }
  const pages = JSON.stringify({
    groups: [{ id: 1, web_url: `${simulator.url}/groups/acme`, parent_id: null }],
    projects: [],
  })
  const effect = { kind: 'status', status: 200, body: pages } as const
  simulator.faults.add({ match: { path: ASSOCIATIONS }, times: Infinity, effect })
  simulator.requests.clear()
  const { answer } = await connectToken(stage, { organization: 'unpaged', scopes })
  t.match(answer, { status: 201, body: { group: 'acme' } })
  t.equal(
    simulator.requests.count({ path: ASSOCIATIONS }),
    2,
    'a server that knows no pages is asked once more',
  )
})
