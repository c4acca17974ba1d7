import t from 'tap'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { list, pathsOf, sync } from '../support/projects.ts'

const GUEST = 10

t.test('what is listed is what the account may read the code of, whatever its role', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const { people } = simulator.world
  simulator.world.addUser({ username: 'guest', name: 'A Guest' })
  people.findGroup('acme')?.members.set(people.user('guest').id, GUEST)
  simulator.world.addProject({ fullPath: 'acme/docs', visibility: 'public' })
  const cases = [{}, { group: 'acme' }].map((wanted, index) => ({ ...wanted, organization: `of-${index}` }))
  const connected = await Promise.all(
    cases.map((wanted) => connectToken(stage, { username: 'guest', ...wanted })),
  )
  const listed = async (id: string) => {
    t.match(await sync(stage, id), { state: 'done', error: null })
    return pathsOf(await list(stage, `/v1/connections/${id}/projects?missing=false`))
  }
  for (const { id } of connected) t.same(await listed(id), ['acme/docs'], 'a guest reads no private code')

  const shop = people.findProject('acme/web-shop')
  if (shop) shop.codeReaders = new Set([people.user('guest').id])
  for (const { id } of connected)
    t.same(await listed(id), ['acme/web-shop', 'acme/docs'], 'but by a custom role')
  const url = `${simulator.url}/acme/web-shop`
  const { body } = await broker.get(
    `/v1/credentials/explain?${new URLSearchParams({ url, organization: 'of-0' })}`,
  )
  t.match(body.candidates[0], { reason: 'best match: is known to reach acme/web-shop' })
})
