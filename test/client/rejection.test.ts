import t, { type Test } from 'tap'
import { type BrokerProblem, createBrokerClient, type Lease, TokenRefused } from '../../src/client/index.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

/** Two people of one organization. Maria, who was verified last, wins; then GitLab takes acme from her. */
const setRefused = async (t: Test) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const tom = await connectToken(stage, { username: 'tom' })
  clock.advance(60)
  const maria = await connectToken(stage)
  const url = `${simulator.url}/acme/web-shop.git`
  const key = await broker.createKey('scanner', ['acme'])
  const sent: string[] = []
  const create = (more: object = {}) => {
    const client = createBrokerClient({
      baseUrl: broker.url,
      key,
      patienceSeconds: 0,
      fetch: (input, init) => {
        const { pathname, search } = new URL(String(input instanceof Request ? input.url : input))
        if (pathname.endsWith('/rejection')) sent.push(search)
        return fetch(input, init)
      },
      ...more,
    })
    t.teardown(() => client.close())
    return client
  }
  const people = simulator.world.people
  const leave = () => people.findGroup('acme')?.members.delete(people.user('maria').id)
  const winner = async (at = url) => {
    const query = new URLSearchParams({ url: at, organization: 'acme' })
    const { candidates } = (await broker.get(`/v1/credentials/explain?${query}`)).body
    return candidates.find(({ won }: { won: boolean }) => won)?.connection_id
  }
  const held = async () =>
    (await broker.db.selectFrom('leases').select('id').where('released_at', 'is', null).execute()).length
  return {
    ...stage,
    url,
    create,
    leave,
    winner,
    held,
    sent,
    tom: tom.id,
    maria: maria.id,
    token: maria.token,
  }
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'none',
    (error: BrokerProblem) => error.code,
  )

t.test('a lease that was looked up by URL tells at which repository GitLab refused', async (t) => {
  const { create, url, leave, winner, sent, tom, maria } = await setRefused(t)
  const client = create({ keepSeconds: 60 })
  const lease = await client.lookUp(url)
  t.equal(lease.credential.connection_id, maria)
  t.equal(await codeOf(lease.reject()), 'token_works')
  t.equal(await winner(), maria, 'GitLab does not say so: what a scanner reports proves nothing')
  leave()
  t.equal(await codeOf(lease.reject()), 'token_works')
  t.equal(await winner(), tom)
  t.same(sent, Array(2).fill(`?url=${encodeURIComponent(url)}`))
  const next = await client.lookUp(url)
  t.equal(next.credential.connection_id, tom, 'a lease that was refused is not kept for the next use')
  await Promise.all([lease.release(), next.release()])
})

t.test('so does one of a batch, and whoever names another repository', async (t) => {
  const { create, url, leave, winner, sent, simulator, tom, maria } = await setRefused(t)
  const client = create()
  const other = `${simulator.url}/acme/platform/api`
  const [byUrl, byId] = (await client.batch([
    { url, organization: 'acme' },
    { connection_id: maria },
  ])) as Lease[]
  leave()
  t.equal(await codeOf(byId!.reject()), 'token_works')
  t.same(sent, [''], 'a connection that was looked up by its id says nothing of a repository')
  t.equal(await winner(), maria)
  t.equal(await codeOf(byUrl!.reject()), 'token_works')
  t.equal(await winner(), tom)
  t.equal(await winner(other), maria, 'one repository says nothing of another')
  const lease = await client.lookUpConnection(maria)
  t.equal(await codeOf(lease.reject(other)), 'token_works')
  t.equal(await winner(other), tom)
  await Promise.all([byUrl!.release(), byId!.release(), lease.release()])
})

t.test('withCredential runs the job with the connection that reaches the repository', async (t) => {
  const { create, url, leave, simulator, held, token, tom, maria } = await setRefused(t)
  const client = create({ organization: 'acme', keepSeconds: 0 })
  const seen: string[] = []
  const job = async ({ connection_id, token }: { connection_id: string; token: string }) => {
    if (seen.push(connection_id) === 1) leave()
    const { status } = await fetch(`${url}/info/refs?service=git-upload-pack`, {
      headers: { authorization: `Basic ${btoa(`oauth2:${token}`)}` },
    })
    if (status !== 200) throw new TokenRefused()
    return 'scanned'
  }
  t.equal(await client.withCredential(url, job), 'scanned')
  t.same(seen, [maria, tom])
  t.equal(await held(), 0, 'both leases are given back')
  t.equal(await client.withCredential(url, job), 'scanned')
  t.same(seen, [maria, tom, tom])

  await t.test('and with the next one where the token is dead', async (t) => {
    simulator.requests.clear()
    const byId = await client.lookUpConnection(maria)
    simulator.world.revokeToken(token)
    t.equal(await codeOf(byId.reject(url)), 'connection_revoked')
    t.equal(simulator.requests.count({ path: /info\/refs/ }), 0, 'the repository has no part in that')
    await byId.release()
  })

  await t.test('and tells the reason where there is no other', async (t) => {
    const refuse = async () => {
      seen.push('refused')
      throw new TokenRefused()
    }
    seen.length = 0
    t.equal(await codeOf(client.withCredential(url, refuse)), 'token_works')
    t.same(seen, ['refused'], 'the job does not run in vain')
    t.equal(await held(), 0)
  })
})
