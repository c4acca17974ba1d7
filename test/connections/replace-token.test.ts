import t from 'tap'
import type { NewAccessToken } from '../../simulator/access-token-store.ts'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { setStage } from '../support/broker.ts'
import { connectToken, SCANNER_SCOPES } from '../support/connect.ts'
import { connect, lookUp, NO_TROUBLE, rowOf } from '../support/lifecycle.ts'

t.test('a new token in the place of the stored one', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const replace = (id: string, token: string, key?: string) =>
    broker.request('PUT', `/v1/connections/${id}/token`, {
      body: { token },
      ...(key === undefined ? {} : { key }),
    })
  const make = (wanted: Partial<NewAccessToken> = {}) =>
    simulator.world.createAccessToken({
      kind: 'personal',
      username: 'maria',
      scopes: SCANNER_SCOPES,
      ...wanted,
    }).token
  let organizations = 0
  const connectPasted = (wanted: Parameters<typeof connectToken>[1] = {}) => {
    organizations += 1
    return connectToken(stage, { organization: `replaced-${organizations}`, ...wanted })
  }

  t.test(
    'is handed out from then on; the old one stays valid at GitLab, for whoever still uses it',
    async (t) => {
      const { id, token: old } = await connectPasted()
      await lookUp(stage, id, { min_ttl: 900 })
      const token = make({ scopes: [...SCANNER_SCOPES, 'self_rotate'], expiresAt: '2027-03-01' })
      t.match(await replace(id, token), {
        status: 200,
        body: {
          id,
          status: 'active',
          token_version: 2,
          scopes: ['read_api', 'read_repository', 'self_rotate'],
          expires_at: '2027-03-01T00:00:00.000Z',
        },
      })
      t.match((await lookUp(stage, id)).body, { token, token_version: 2 })
      t.equal(simulator.world.tokenState(old), 'active')
      const [event] = await broker.db
        .selectFrom('audit_events')
        .selectAll()
        .where('subject_id', '=', id)
        .orderBy('id', 'desc')
        .limit(1)
        .execute()
      t.match(event, {
        action: 'connection.updated',
        details: { change: 'token replaced', token_version: 2 },
      })
      t.notOk(JSON.stringify(event).includes(token))
    },
  )

  t.test('of another account is refused', async (t) => {
    const { id, token: old } = await connectPasted()
    t.match(await replace(id, make({ username: 'tom' })), {
      status: 409,
      body: { code: 'different_identity' },
    })
    t.match((await lookUp(stage, id)).body, { token: old, token_version: 1 })
  })

  t.test('of another kind too: OAuth is no access token, nor the other way round', async (t) => {
    const { scopes } = (await lookUp(stage, await connect(stage))).body
    const oauth = simulator.world.issueOAuthToken({
      username: 'maria',
      clientId: SEEDED_APP.clientId,
      scopes,
    })
    const { id } = await connectPasted()
    t.match(await replace(id, oauth.accessToken), { status: 409, body: { code: 'different_identity' } })
    t.match(await replace(await connect(stage), make()), {
      status: 409,
      body: { code: 'different_identity' },
    })
  })

  t.test(
    'that is an OAuth token obtained elsewhere replaces only one that is past refreshing, and says so',
    async (t) => {
      const id = await connect(stage)
      const { scopes } = (await lookUp(stage, id)).body
      const oauth = simulator.world.issueOAuthToken({
        username: 'maria',
        clientId: SEEDED_APP.clientId,
        scopes,
      })
      t.match(await replace(id, oauth.accessToken), { status: 422, body: { code: 'wrong_token_kind' } })
      await broker.db
        .updateTable('connections')
        .set({ status: 'needs_reauthorization' })
        .where('id', '=', id)
        .execute()
      t.match(await replace(id, oauth.accessToken), {
        status: 200,
        body: { refreshable: false, oauth_app: null, token_version: 2 },
      })
      clock.advance(4_000)
      t.match((await lookUp(stage, id)).body, { token: oauth.accessToken, token_version: 2 })
    },
  )

  t.test('that GitLab does not accept is refused, with the reason', async (t) => {
    const { id } = await connectPasted()
    const revoked = make()
    simulator.world.revokeToken(revoked)
    t.match(await replace(id, revoked), { status: 422, body: { code: 'token_revoked' } })
    t.match(await replace(id, 'glpat-FAKE-0123456789abcdef'), {
      status: 422,
      body: { code: 'token_unknown' },
    })
    t.match(await replace(id, make({ scopes: ['read_api'] })), {
      status: 422,
      body: { code: 'missing_scopes' },
    })
    simulator.faults.add({
      match: { path: /personal_access_tokens/ },
      effect: { kind: 'status', status: 502 },
    })
    t.match(await replace(id, make()), { status: 503, body: { code: 'gitlab_unavailable' } })
    t.match((await rowOf(stage, id)).token_version, 1)
  })

  t.test('has to reach the group that the connection is for', async (t) => {
    const { world } = simulator
    world.addGroup({ fullPath: 'umbrella', members: ['maria'] })
    const { id, answer } = await connectPasted({ group: 'umbrella' })
    t.equal(answer.status, 201, answer.text)
    world.features.associations = false
    t.match(await replace(id, make({ scopes: ['read_repository'] })), {
      status: 422,
      body: { code: 'missing_scopes', missing_scopes: ['read_api'] },
    })
    world.features.associations = true
    t.match(await replace(id, make()), { status: 200, body: { group: 'umbrella', token_version: 2 } })
    world.people.findGroup('umbrella')!.members.clear()
    t.match(await replace(id, make()), { status: 422, body: { code: 'group_out_of_reach' } })
    t.match((await rowOf(stage, id)).token_version, 2)
  })

  t.test('revives a connection that was over, and clears its troubles', async (t) => {
    const { id, token } = await connectPasted()
    simulator.world.revokeToken(token)
    t.match((await broker.post(`/v1/connections/${id}/verify`)).body, {
      works: false,
      reason: 'token_revoked',
    })
    t.match(await replace(id, make()), {
      status: 200,
      body: { status: 'active', status_reason: null, status_detail: null },
    })
    t.match(await rowOf(stage, id), NO_TROUBLE)
    t.match(await lookUp(stage, id), { status: 200 })
  })

  t.test('is for managers of the organization', async (t) => {
    const { id } = await connectPasted()
    t.match(await replace(id, make(), await broker.createKey('manager', ['elsewhere'])), { status: 404 })
    t.match(await replace(id, make(), await broker.createKey('scanner', ['*'])), { status: 403 })
  })
})
