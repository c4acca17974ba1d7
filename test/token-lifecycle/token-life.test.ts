import t from 'tap'
import type { Simulator } from '../../simulator/simulator.ts'
import { type Answer, connectByOAuth, type Stage, setStage } from '../support/broker.ts'

const endAtGitLab = (simulator: Simulator, token: string): number => {
  const { createdAt, expiresInSeconds } = simulator.world.grants.findByAccessToken(token)!
  return (createdAt + expiresInSeconds) * 1000
}

/** Sends a request, and lets time pass between what GitLab does and when its answer arrives. */
const withSlowAnswer = async (
  { simulator, clock }: Stage,
  path: string,
  send: () => Promise<Answer>,
): Promise<Answer> => {
  let arrive = () => {}
  const until = new Promise<void>((resolve) => {
    arrive = resolve
  })
  const fault = simulator.faults.add({ match: { path }, effect: { kind: 'hold-after', until } })
  const sent = send()
  while (fault.fired() === 0) await new Promise((resolve) => setImmediate(resolve))
  // One turn more: GitLab's handler follows the fault without waiting for anything.
  await new Promise((resolve) => setImmediate(resolve))
  clock.advance(6)
  arrive()
  return sent
}

t.test(
  'no token lives longer for us than for GitLab, however late in a second and slow the answer',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator, clock } = stage
    clock.advance(0.9)

    await t.test('a refreshed one', async (t) => {
      const id = await connectByOAuth(stage)
      clock.advance(7_000)
      const { body } = await withSlowAnswer(stage, '/oauth/token', () =>
        broker.get(`/v1/connections/${id}/credential`),
      )
      t.equal(body.token_version, 2)
      t.ok(Date.parse(body.expires_at) <= endAtGitLab(simulator, body.token), body.expires_at)
    })

    await t.test('one from the OAuth flow', async (t) => {
      const id = await connectByOAuth(stage, { username: 'tom' })
      const { body } = await broker.get(`/v1/connections/${id}/credential`)
      t.ok(Date.parse(body.expires_at) <= endAtGitLab(simulator, body.token), body.expires_at)
    })

    await t.test('one that was obtained elsewhere', async (t) => {
      const pair = simulator.world.issueOAuthToken({
        username: 'maria',
        clientId: 'simulator-client',
        scopes: ['read_api', 'read_repository'],
      })
      const { status, body } = await withSlowAnswer(stage, '/oauth/token/info', () =>
        broker.post('/v1/connections/oauth-token', {
          organization: 'globex',
          base_url: simulator.url,
          access_token: pair.accessToken,
        }),
      )
      t.equal(status, 201)
      t.ok(Date.parse(body.expires_at) <= endAtGitLab(simulator, pair.accessToken), body.expires_at)
    })
  },
)
