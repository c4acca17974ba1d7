import t from 'tap'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { connectByOAuth, setStage } from '../support/broker.ts'

t.test(
  'pasting an access token that cannot be refreshed costs a connection nothing that can be',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator, clock } = stage
    const id = await connectByOAuth(stage)
    const { accessToken } = simulator.world.issueOAuthToken({
      username: 'maria',
      clientId: SEEDED_APP.clientId,
      scopes: ['read_api', 'read_repository'],
    })
    const pasted = { organization: 'acme', base_url: simulator.url, access_token: accessToken, name: 'again' }
    t.match(await broker.post('/v1/connections/oauth-token', pasted), {
      status: 200,
      body: { id, name: 'again', refreshable: true, token_version: 1 },
    })

    clock.advance(7_300)
    t.match(await broker.get(`/v1/connections/${id}/credential`), { status: 200, body: { token_version: 2 } })
  },
)
