import t, { type Test } from 'tap'
import { type Stage, setStage } from '../support/broker.ts'
import { connectToken, SCANNER_SCOPES } from '../support/connect.ts'

const PATH = '/v1/connections/personal-access-token'

const storedNothing = async (t: Test, { broker }: Stage, before = 0) => {
  const rows = await broker.db.selectFrom('connections').select('id').execute()
  t.equal(rows.length, before, 'no connection')
  const instances = await broker.db.selectFrom('instances').select('base_url').execute()
  t.equal(instances.length, 2, 'no instance')
}

t.test('a token that GitLab does not let through is refused with a code of its own', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { world } = simulator
  const make = (token: Partial<Parameters<typeof world.createAccessToken>[0]> = {}) =>
    world.createAccessToken({ kind: 'personal', username: 'maria', scopes: SCANNER_SCOPES, ...token }).token
  world.addGroup({ fullPath: 'initech', members: ['tom'] })
  const expired = make({ expiresAt: '2026-11-03' })
  const revoked = make()
  world.revokeToken(revoked)
  const oauth = world.issueOAuthToken({
    username: 'maria',
    clientId: 'simulator-client',
    scopes: ['read_repository'],
  })
  clock.advance(86_400)
  const living = world.issueOAuthToken({
    username: 'maria',
    clientId: 'simulator-client',
    scopes: ['read_repository'],
  })

  const table: [what: string, token: string, status: number, code: string, more?: object, group?: string][] =
    [
      ['unknown', 'glpat-FAKE-unknown-00000', 422, 'token_unknown'],
      ['expired', expired, 422, 'token_expired'],
      ['revoked', revoked, 422, 'token_revoked'],
      ['blocked', make({ username: 'blake' }), 422, 'user_blocked'],
      [
        'scopes',
        make({ scopes: ['read_user'] }),
        422,
        'missing_scopes',
        { missing_scopes: ['read_repository'] },
      ],
      ['group of others', make(), 422, 'group_out_of_reach', {}, 'initech'],
      ['no such group', make(), 422, 'group_out_of_reach', {}, 'acme/nothing'],
      ['other kind', living.accessToken, 422, 'wrong_token_kind'],
      ['other kind, expired', oauth.accessToken, 422, 'token_expired'],
    ]
  for (const [what, token, status, code, more = {}, group] of table) {
    const body = { organization: 'acme', base_url: simulator.url, token, ...(group ? { group } : {}) }
    const answer = await broker.post(PATH, body)
    t.match(answer, { status, body: { code, request_id: String, ...more } }, what)
    t.ok(answer.body.detail.length > 20, `${what}: ${answer.body.detail}`)
    t.notMatch(answer.text, token, what)
    if (group === undefined) {
      const verified = await broker.post('/v1/tokens/verify', { base_url: simulator.url, token })
      const reason = what === 'other kind' ? null : code
      t.match(verified, { status: 200, body: { valid: reason === null, reason, ...more } }, what)
    }
  }
  await storedNothing(t, stage)
})

t.test('a GitLab that answers badly is not the fault of the token', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { token } = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: SCANNER_SCOPES,
  })
  const dpop = '{"message":"401 Unauthorized - DPoP validation error: DPoP header is missing"}'
  for (const [effect, status, code] of [
    [{ kind: 'status', status: 401, body: dpop }, 422, 'dpop_required'],
    [{ kind: 'html' }, 422, 'not_a_gitlab'],
    [{ kind: 'status', status: 200, body: '{"hello":"world"}' }, 422, 'not_a_gitlab'],
    [{ kind: 'status', status: 200, body: '[]' }, 422, 'not_a_gitlab'],
    [{ kind: 'status', status: 404, body: '<html>no</html>' }, 422, 'not_a_gitlab'],
    [{ kind: 'status', status: 301, body: '', headers: { location: '/' } }, 422, 'not_a_gitlab'],
    [{ kind: 'status', status: 500 }, 503, 'gitlab_unavailable'],
    [{ kind: 'status', status: 503 }, 503, 'gitlab_unavailable'],
    [{ kind: 'cut-before' }, 503, 'gitlab_unavailable'],
    [{ kind: 'rate-limit', retryAfterSeconds: 40 }, 503, 'gitlab_unavailable'],
  ] as const) {
    simulator.faults.add({ match: { path: '/api/v4/personal_access_tokens/self' }, effect })
    const answer = await broker.post(PATH, { organization: 'acme', base_url: simulator.url, token })
    t.match(answer, { status, body: { code } }, JSON.stringify(effect))
    if (status === 503) t.ok(Number(answer.headers.get('retry-after')) >= 1)
    if (effect.kind === 'rate-limit') t.equal(answer.headers.get('retry-after'), '40')
  }
  await storedNothing(t, stage)
  clock.advance(41)
  t.equal((await broker.post(PATH, { organization: 'acme', base_url: simulator.url, token })).status, 201)
})

t.test('personal, group and project tokens are told apart', async (t) => {
  const stage = await setStage(t)
  const kinds = [
    [
      {},
      { token_kind: 'personal_access_token', group: null, user: { username: 'maria', name: 'Maria Rossi' } },
    ],
    [
      { kind: 'group', path: 'acme/platform' },
      { token_kind: 'group_access_token', group: 'acme/platform', user: { username: /^group_\d+_bot_/ } },
    ],
    [
      { kind: 'project', path: 'acme/web-shop' },
      { token_kind: 'project_access_token', group: 'acme/web-shop', user: { username: /^project_\d+_bot_/ } },
    ],
    [
      { scopes: ['read_repository'], username: 'tom' },
      { token_kind: 'personal_access_token', user: { id: 2, username: null, name: null } },
    ],
  ] as const
  for (const [{ scopes, ...wanted }, expected] of kinds as readonly (readonly [
    { scopes?: string[] },
    object,
  ])[]) {
    const { answer } = await connectToken(stage, { ...wanted, ...(scopes ? { scopes: [...scopes] } : {}) })
    t.equal(answer.status, 201, answer.text)
    t.match(answer.body, {
      organization: 'acme',
      method: 'token',
      status: 'active',
      refreshable: false,
      token_version: 1,
      scopes: scopes ?? SCANNER_SCOPES,
      ...expected,
    })
    t.equal(answer.body.expires_at, '2027-11-02T00:00:00.000Z')
    t.equal(answer.body.last_verified_at, '2026-11-02T10:30:00.000Z')
  }
})

t.test('a group is kept as GitLab writes it, however it was typed', async (t) => {
  const stage = await setStage(t)
  const { answer } = await connectToken(stage, { group: '/Acme/Platform/' })
  t.match(answer, { status: 201, body: { group: 'acme/platform' } })
  const project = await connectToken(stage, { group: 'acme/web-shop' })
  t.match(project.answer, { status: 201, body: { group: 'acme/web-shop' } }, 'a project will do')
})

t.test('the same account is one connection', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const first = await connectToken(stage)
  const body = { organization: 'acme', base_url: simulator.url, token: first.token }

  t.test('with the same token, the very same', async (t) => {
    const again = await broker.post(PATH, { ...body, name: 'Maria' })
    t.match(again, { status: 200, body: { id: first.id, token_version: 1, name: 'Maria' } })
  })

  t.test('with a new token, a newer version of it, which lookups get', async (t) => {
    const second = await connectToken(stage)
    t.match(second.answer, { status: 200, body: { id: first.id, token_version: 2, name: 'Maria' } })
    const credential = await broker.get(`/v1/connections/${first.id}/credential`)
    t.match(credential.body, { token: second.token, token_version: 2 })
  })

  t.test('for one group, and another for another group, account or organization', async (t) => {
    const others = [
      await connectToken(stage, { group: 'acme' }),
      await connectToken(stage, { username: 'tom' }),
      await connectToken(stage, { organization: 'globex' }),
    ]
    t.same(
      others.map(({ answer }) => answer.status),
      [201, 201, 201],
    )
    t.equal(new Set([first.id, ...others.map(({ id }) => id)]).size, 4)
  })

  t.test('also when many paste it at once', async (t) => {
    const organization = 'initech'
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => broker.post(PATH, { ...body, organization })),
    )
    t.equal(new Set(answers.map((answer) => answer.body.id)).size, 1)
    t.equal(answers.filter(({ status }) => status === 201).length, 1)
    const { body: list } = await broker.get(`/v1/connections?organization=${organization}`)
    t.match(list, { items: [{ token_version: 1 }], next_cursor: null })
    t.equal(list.items.length, 1)
  })

  t.test('and a connection that was dead lives again', async (t) => {
    await broker.db
      .updateTable('connections')
      .set({ status: 'revoked', status_reason: 'token_revoked', status_detail: 'gone', failure_count: 3 })
      .where('id', '=', first.id)
      .execute()
    const { answer } = await connectToken(stage)
    t.match(answer.body, { id: first.id, status: 'active', status_reason: null, status_detail: null })
    t.equal((await broker.get(`/v1/connections/${first.id}/credential`)).status, 200)
  })
})

t.test('a GitLab under a path is the same one however its address is typed', async (t) => {
  const stage = await setStage(t, { simulator: { path: '/gitlab' } })
  const { broker, simulator } = stage
  const { id, token } = await connectToken(stage)
  for (const base_url of [
    `${simulator.url}/`,
    `${simulator.url}/api/v4`,
    `${simulator.url}/API/v4/`,
    simulator.url.replace('http://127.0.0.1', 'HTTP://127.0.0.1').replace('/gitlab', '//gitlab//'),
  ]) {
    const answer = await broker.post(PATH, { organization: 'acme', base_url, token })
    t.match(answer, { status: 200, body: { id, base_url: simulator.url } }, base_url)
  }
  const root = simulator.url.replace('/gitlab', '')
  const answer = await broker.post(PATH, { organization: 'acme', base_url: root, token })
  t.match(answer.body, { code: 'address_not_allowed' }, 'its root is another, unknown one')
})

t.test('a manager connects for its own organizations only, a scanner not at all', async (t) => {
  const stage = await setStage(t)
  const manager = await stage.broker.createKey('manager', ['globex'])
  t.match((await connectToken(stage, { key: manager })).answer, { status: 404, body: { code: 'not_found' } })
  t.equal((await connectToken(stage, { key: manager, organization: 'globex' })).answer.status, 201)
  const scanner = await stage.broker.createKey('scanner', ['acme'])
  t.match((await connectToken(stage, { key: scanner })).answer, { status: 403, body: { code: 'forbidden' } })
})
