import t from 'tap'
import { connectByOAuth, setStage } from '../support/broker.ts'

t.test('fifty scanners asking at once for a token that is out share one refresh', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const id = await connectByOAuth(stage)
  const scanner = await broker.createKey('scanner', ['acme'])
  clock.advance(7_300)
  simulator.requests.clear()

  const answers = await Promise.all(
    Array.from({ length: 50 }, () => broker.get(`/v1/connections/${id}/credential`, { key: scanner })),
  )

  t.same(new Set(answers.map(({ status }) => status)), new Set([200]))
  t.equal(simulator.requests.count({ grantType: 'refresh_token' }), 1)
  const tokens = new Set(answers.map(({ body }) => body.token))
  t.equal(tokens.size, 1)
  for (const token of tokens) t.equal(simulator.world.tokenState(token), 'active')
})
