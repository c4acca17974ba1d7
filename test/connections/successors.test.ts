import t from 'tap'
import type { NewAccessToken } from '../../simulator/access-token-store.ts'
import { setStage } from '../support/broker.ts'
import { connectToken, SCANNER_SCOPES } from '../support/connect.ts'
import { lookUp } from '../support/lifecycle.ts'

const PATH = '/v1/connections/personal-access-token'

t.test('who a connection is', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const { world } = simulator
  let made = 0
  const newOrganization = () => `org-${++made}`
  const make = (wanted: Partial<NewAccessToken> = {}) =>
    world.createAccessToken({
      kind: 'personal',
      scopes: SCANNER_SCOPES,
      ...(wanted.kind === undefined || wanted.kind === 'personal' ? { username: 'maria' } : {}),
      ...wanted,
    }).token
  const connect = (organization: string, token: string, more: object = {}) =>
    broker.post(PATH, { organization, base_url: simulator.url, token, ...more })
  const replace = (id: string, token: string, more: object = {}) =>
    broker.request('PUT', `/v1/connections/${id}/token`, { body: { token, ...more } })
  const list = async (query: string) => (await broker.get(`/v1/connections?${query}`)).body.items
  const lastEvent = (id: string) =>
    broker.db
      .selectFrom('audit_events')
      .select(['action', 'details'])
      .where('subject_id', '=', id)
      .where('action', '<>', 'connection.failed')
      .orderBy('id', 'desc')
      .limit(1)
      .executeTakeFirst()

  t.test('two tokens of one account with different places are two connections', async (t) => {
    const organization = newOrganization()
    const [whole, group, project] = [make(), make(), make()]
    const answers = [
      await connect(organization, whole),
      await connect(organization, group, { group: 'acme' }),
      await connect(organization, project, { group: 'acme/web-shop' }),
    ]
    for (const answer of answers) t.match(answer, { status: 201, body: { replaced: false } }, answer.text)
    t.match(
      (await list(`organization=${organization}`)).map(({ group }: { group: string | null }) => group),
      [null, 'acme', 'acme/web-shop'],
    )
    for (const [index, token] of [whole, group, project].entries())
      t.match((await lookUp(stage, answers[index]?.body.id)).body, { token })
  })

  t.test('the same account and place again is a renewal, in place', async (t) => {
    const organization = newOrganization()
    const first = await connect(organization, make(), { group: 'acme', labels: { team: 'payments' } })
    const token = make()
    const again = await connect(organization, token, { group: 'ACME/' })
    t.match(again, {
      status: 200,
      body: { id: first.body.id, replaced: true, token_version: 2, labels: { team: 'payments' } },
    })
    t.match((await lookUp(stage, first.body.id)).body, { token })
    t.match(await connect(organization, token, { group: 'acme' }), {
      status: 200,
      body: { id: first.body.id, replaced: true, token_version: 2 },
    })
  })

  t.test('separate makes another one, as often as it is asked for', async (t) => {
    const organization = newOrganization()
    const first = await connect(organization, make())
    const second = await connect(organization, make(), { separate: true })
    const third = await connect(organization, make(), { separate: true })
    t.match(
      [second, third],
      [
        { status: 201, body: { replaced: false, group: null } },
        { status: 201, body: { replaced: false, group: null } },
      ],
    )
    t.equal(new Set([first, second, third].map(({ body }) => body.id)).size, 3)
    t.equal((await list(`organization=${organization}`)).length, 3)
    world.revokeToken((await lookUp(stage, second.body.id)).body.token)
    await broker.post(`/v1/connections/${second.body.id}/verify`)
    t.match(
      await connect(organization, make()),
      { status: 200, body: { id: second.body.id, replaced: true, status: 'active' } },
      'a renewal revives the dead one first',
    )
  })

  t.test('at the same moment the same token makes one connection', async (t) => {
    const organization = newOrganization()
    const token = make()
    const answers = await Promise.all([1, 2, 3, 4].map(() => connect(organization, token)))
    t.same(answers.map(({ status }) => status).sort(), [200, 200, 200, 201])
    t.equal(new Set(answers.map(({ body }) => body.id)).size, 1)
  })

  for (const scopes of [SCANNER_SCOPES, ['read_repository']])
    t.test(
      `the successor of a group or project token has a new bot and the same home: ${scopes}`,
      async (t) => {
        for (const home of [
          { kind: 'group', path: 'acme/platform' },
          { kind: 'project', path: 'acme/web-shop' },
        ] as const) {
          const { id, token } = await connectToken(stage, {
            organization: newOrganization(),
            ...home,
            scopes,
          })
          world.revokeToken(token)
          t.match((await broker.post(`/v1/connections/${id}/verify`)).body, { works: false })
          const successor = make({ ...home, scopes })
          t.match(await replace(id, successor), {
            status: 200,
            body: { id, status: 'active', group: home.path },
          })
          t.match((await lookUp(stage, id)).body, { token: successor })
          t.match(await lastEvent(id), {
            action: 'connection.updated',
            details: { identity: 'successor', account: String, account_before: String },
          })
        }
      },
    )

  t.test('another home, another kind or another person needs a yes, which is recorded', async (t) => {
    const organization = newOrganization()
    const { id, token } = await connectToken(stage, { organization })
    const tom = make({ username: 'tom' })
    const refused = await replace(id, tom)
    t.match(refused, { status: 409, body: { code: 'different_identity', held_by: 'maria', given_by: 'tom' } })
    t.match((await lookUp(stage, id)).body, { token })
    t.match(await replace(id, tom, { accept_new_identity: true }), {
      status: 200,
      body: { id, user: { username: 'tom' }, token_version: 2 },
    })
    t.match((await lookUp(stage, id)).body, { token: tom })
    t.match(await lastEvent(id), {
      action: 'connection.updated',
      details: { identity: 'other', account_before: '1', account: '2' },
    })
    t.match(await connect(organization, make({ username: 'tom' })), { status: 200, body: { id } })
    t.match(await connect(organization, make()), { status: 201 }, 'and maria has none any more')

    const group = await connectToken(stage, { organization, kind: 'group', path: 'acme' })
    t.match(await replace(group.id, make({ kind: 'group', path: 'globex' })), {
      status: 422,
      body: { code: 'group_out_of_reach' },
    })
    t.match(await replace(group.id, make({ username: 'tom' })), { status: 409 })
    t.match(await replace(group.id, make({ username: 'tom' }), { accept_new_identity: true }), {
      status: 200,
      body: { id: group.id, group: 'acme', token_kind: 'personal_access_token' },
    })
  })

  t.test('a place that the new token does not reach stays with the old one', async (t) => {
    world.addGroup({ fullPath: 'umbrella', members: ['maria'] })
    const { id, token } = await connectToken(stage, { organization: newOrganization(), group: 'umbrella' })
    const answer = await replace(id, make({ username: 'tom' }), { accept_new_identity: true })
    t.match(answer, { status: 422, body: { code: 'group_out_of_reach' } })
    t.match((await lookUp(stage, id)).body, { token })
  })

  t.test('an account whose place in the table is taken takes over all the same', async (t) => {
    const organization = newOrganization()
    const maria = await connectToken(stage, { organization })
    const tom = await connectToken(stage, { organization, username: 'tom' })
    t.match(await replace(tom.id, make(), { accept_new_identity: true }), {
      status: 200,
      body: { id: tom.id },
    })
    t.equal((await list(`organization=${organization}`)).length, 2)
    t.match((await lookUp(stage, maria.id)).status, 200)
  })

  t.test('labels are listed, changed and searched', async (t) => {
    const organization = newOrganization()
    const labels = { team: 'payments', 'example.com/tier': 'gold: 1=2' }
    const { body } = await connect(organization, make(), { labels })
    await connect(organization, make({ username: 'tom' }), { labels: { team: 'search' } })
    t.same(body.labels, labels)
    const idsOf = async (label: string) =>
      (await list(`organization=${organization}&label=${encodeURIComponent(label)}`)).map(
        ({ id }: { id: string }) => id,
      )
    t.equal((await idsOf('team')).length, 2)
    t.same(await idsOf('team=payments'), [body.id])
    t.same(await idsOf('team:payments'), [body.id])
    t.same(await idsOf('example.com/tier=gold: 1=2'), [body.id])
    for (const label of ['team=', 'team=payment', 'tea', 'Team']) t.same(await idsOf(label), [], label)
    const patch = { body: { labels: { team: 'risk' } } }
    t.match(await broker.request('PATCH', `/v1/connections/${body.id}`, patch), {
      status: 200,
      body: { labels: { team: 'risk' } },
    })
    t.same(await idsOf('example.com/tier'), [])
    for (const wrong of [
      { 'a b': 'c' },
      { '': 'c' },
      { a: 'x'.repeat(257) },
      { a: 7 },
      { a: 'b\n' },
      ['a'],
      Object.fromEntries(Array.from({ length: 21 }, (_, index) => [`l${index}`, 'x'])),
    ]) {
      const answer = await connect(organization, make(), { labels: wrong })
      t.match(answer, { status: 400, body: { code: 'invalid_request' } }, JSON.stringify(wrong).slice(0, 40))
    }
    for (const label of ['', '=x', ' ', 'a b'])
      t.equal((await broker.get(`/v1/connections?label=${encodeURIComponent(label)}`)).status, 400, label)
  })
})
