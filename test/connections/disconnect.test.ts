import t from 'tap'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, OUT, REFRESH, rowOf, until, untilItWaits } from '../support/lifecycle.ts'

const REVOKE = { path: '/oauth/revoke' }
const REVOKE_PASTED = { method: 'DELETE', path: '/api/v4/personal_access_tokens/self' }

t.test('to disconnect', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  t.beforeEach(() => simulator.faults.clear())
  const disconnect = (id: string, query = '', key?: string) =>
    broker.request('DELETE', `/v1/connections/${id}${query}`, key === undefined ? {} : { key })
  const tokenOf = async (id: string): Promise<string> => (await lookUp(stage, id)).body.token
  const state = (token: string) => simulator.world.tokenState(token)
  const isGone = async (id: string) =>
    (await broker.get(`/v1/connections/${id}`)).status === 404 &&
    (await broker.db.selectFrom('connections').select('id').where('id', '=', id).execute()).length === 0
  let organizations = 0
  const connectPasted = (wanted: Parameters<typeof connectToken>[1] = {}) => {
    organizations += 1
    return connectToken(stage, { organization: `gone-${organizations}`, ...wanted })
  }

  t.test('revokes both halves of an OAuth grant at GitLab, and forgets them', async (t) => {
    const id = await connect(stage)
    const token = await tokenOf(id)
    const { refreshToken } = simulator.world.grants.findByAccessToken(token)!
    t.equal((await disconnect(id)).status, 204)
    t.equal(state(token), 'revoked')
    t.equal(state(refreshToken), 'revoked')
    t.ok(await isGone(id))
    t.match(await lookUp(stage, id), { status: 404 })
    t.match(await disconnect(id), { status: 404 })
    const events = await broker.db
      .selectFrom('audit_events')
      .selectAll()
      .where('subject_id', '=', id)
      .orderBy('id')
      .execute()
    t.match(events.at(-1), { action: 'connection.deleted', details: { revoked_at_gitlab: true } })
    const leases = await broker.db.selectFrom('leases').select('id').where('connection_id', '=', id).execute()
    t.equal(leases.length, 1, 'the record of who got the token stays')
  })

  t.test('revokes a pasted token too', async (t) => {
    const { id, token } = await connectPasted()
    t.equal((await disconnect(id)).status, 204)
    t.equal(state(token), 'revoked')
    t.ok(await isGone(id))
  })

  t.test('can keep the token at GitLab', async (t) => {
    const { id, token } = await connectPasted()
    const oauth = await connect(stage)
    const oauthToken = await tokenOf(oauth)
    t.equal((await disconnect(id, '?revoke=false')).status, 204)
    t.equal((await disconnect(oauth, '?revoke=false')).status, 204)
    t.equal(state(token), 'active')
    t.equal(state(oauthToken), 'active')
    t.ok((await isGone(id)) && (await isGone(oauth)))
  })

  t.test('of a token that is dead already leaves nothing to do', async (t) => {
    const { id, token } = await connectPasted()
    simulator.world.revokeToken(token)
    t.equal((await disconnect(id)).status, 204)
    const oauth = await connect(stage)
    simulator.world.revokeToken(await tokenOf(oauth))
    t.equal((await disconnect(oauth)).status, 204)
  })

  t.test('is not held up by a GitLab that is down: what is left to revoke is said', async (t) => {
    const pasted = await connectPasted()
    const ofGroup = await connectPasted({ kind: 'group', path: 'acme' })
    const ofProject = await connectPasted({ kind: 'project', path: 'acme/web-shop' })
    const oauth = await connect(stage)
    const token = await tokenOf(oauth)
    for (const [id, page] of [
      [pasted.id, '/-/user_settings/personal_access_tokens'],
      [ofGroup.id, '/groups/acme/-/settings/access_tokens'],
      [ofProject.id, '/acme/web-shop/-/settings/access_tokens'],
      [oauth, '/-/user_settings/applications'],
    ] as const) {
      simulator.faults.add({
        match: id === oauth ? REVOKE : REVOKE_PASTED,
        effect: { kind: 'status', status: 502 },
      })
      t.match(await disconnect(id), {
        status: 200,
        body: { left_to_revoke: { reason: /answered 502\.$/, where: `${simulator.url}${page}` } },
      })
      t.ok(await isGone(id))
    }
    t.equal(state(pasted.token), 'active')
    t.equal(state(token), 'active')
  })

  t.test('says so when GitLab does not let the OAuth app revoke', async (t) => {
    const id = await connect(stage)
    simulator.world.changeAppSecret(SEEDED_APP.clientId, 'gloas-FAKE-another-secret')
    t.match(await disconnect(id), { status: 200, body: { left_to_revoke: { where: /applications$/ } } })
    simulator.world.changeAppSecret(SEEDED_APP.clientId, SEEDED_APP.clientSecret)
    t.ok(await isGone(id))
  })

  t.test('says so when the token belongs to an application that is not ours', async (t) => {
    const { scopes } = (await lookUp(stage, await connect(stage))).body
    const { accessToken } = simulator.world.issueOAuthToken({
      username: 'tom',
      clientId: SEEDED_APP.clientId,
      scopes,
    })
    const made = await broker.post('/v1/connections/oauth-token', {
      organization: 'acme',
      base_url: simulator.url,
      access_token: accessToken,
    })
    t.equal(made.status, 201, made.text)
    t.match(await disconnect(made.body.id), {
      status: 200,
      body: { left_to_revoke: { reason: /obtained elsewhere/ } },
    })
  })

  t.test('waits for a refresh in flight, and revokes what that brought', async (t) => {
    const id = await connect(stage)
    clock.advance(OUT)
    const { promise, resolve } = Promise.withResolvers<void>()
    const held = simulator.faults.add({ match: REFRESH, effect: { kind: 'hold-after', until: promise } })
    const asking = lookUp(stage, id)
    await until(() => held.fired() > 0)
    const disconnecting = disconnect(id)
    await untilItWaits(stage)
    resolve()
    const credential = await asking
    t.equal((await disconnecting).status, 204)
    // The lookup either got the new token before it was revoked, or found the connection gone.
    t.ok([200, 404].includes(credential.status), String(credential.status))
    const live = simulator.world.events.filter(({ kind }) => kind === 'refreshed').at(-1)!
    const ended = simulator.world.events.findLast(
      ({ kind, grantId }) => kind === 'revoked' && grantId === live.grantId,
    )
    t.equal(ended?.generation, live.generation)
    t.ok(await isGone(id))
  })

  t.test('after a refresh without an answer admits that GitLab may have issued one more', async (t) => {
    const id = await connect(stage)
    clock.advance(OUT)
    simulator.faults.add({ match: REFRESH, effect: { kind: 'cut-after' } })
    t.match(await lookUp(stage, id), { status: 503 })
    t.match(await disconnect(id), {
      status: 200,
      body: { left_to_revoke: { reason: /new token whose answer was lost/ } },
    })
    t.ok(await isGone(id))
  })

  t.test('forgets even what does not open any more', async (t) => {
    const { id, token } = await connectPasted()
    const { access_token } = await rowOf(stage, id)
    const damaged = `${access_token.slice(0, -4)}AAAA`
    await broker.db.updateTable('connections').set({ access_token: damaged }).where('id', '=', id).execute()
    t.match(await disconnect(id), {
      status: 200,
      body: { left_to_revoke: { reason: /could not be revoked/ } },
    })
    t.ok(await isGone(id))
    t.equal(state(token), 'active')
  })

  t.test('is for managers of the organization', async (t) => {
    const { id, token } = await connectPasted()
    t.match(await disconnect(id, '', await broker.createKey('manager', ['elsewhere'])), { status: 404 })
    t.match(await disconnect(id, '', await broker.createKey('scanner', ['*'])), { status: 403 })
    t.equal(state(token), 'active')
  })
})
