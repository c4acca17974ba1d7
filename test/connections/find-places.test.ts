import t, { type Test } from 'tap'
import { type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

type Wanted = Parameters<typeof connectToken>[1]

const CLONE_ONLY = ['read_repository']
const WITH_NAMES = ['read_user', 'read_repository']

const placesOf = ({ broker }: Stage, id: string) =>
  broker.db
    .selectFrom('connection_places')
    .select(['kind', 'path', 'gitlab_id'])
    .where('connection_id', '=', id)
    .orderBy('path')
    .execute()

/** Connects, and compares what is known of the connection. */
const covers = async (
  t: Test,
  stage: Stage,
  wanted: Wanted,
  expected: { token_kind: string; group: string | null; gitlab_id: number | null },
) => {
  const { answer, id } = await connectToken(stage, wanted)
  const { gitlab_id, ...shown } = expected
  const what = JSON.stringify(wanted)
  t.match(answer, { status: 201, body: shown }, `${what}: ${answer.text}`)
  const [place, ...others] = await placesOf(stage, id)
  t.same(others, [], what)
  t.match(place, { path: expected.group ?? '' }, what)
  t.equal(place?.gitlab_id === null ? null : Number(place?.gitlab_id), gitlab_id, `${what}: the id`)
  return id
}

t.test('a group or project token covers its home, whatever its scopes are', async (t) => {
  const stage = await setStage(t)
  const { people } = stage.simulator.world
  const group = { token_kind: 'group_access_token', group: 'acme/platform', gitlab_id: 2 }
  const project = { token_kind: 'project_access_token', group: 'acme/web-shop', gitlab_id: 1 }
  t.match([people.findGroup('acme/platform')?.id, people.findProject('acme/web-shop')?.id], [2, 1])
  for (const scopes of [CLONE_ONLY, WITH_NAMES, ['read_api', 'read_repository'], ['api']]) {
    for (const oldBotName of [false, true]) {
      // Whose a token for Git alone is, GitLab tells nobody.
      const kind = scopes === CLONE_ONLY ? { token_kind: 'personal_access_token' } : {}
      const places = [
        { kind: 'group', path: 'acme/platform', expected: { ...group, ...kind } },
        { kind: 'project', path: 'acme/web-shop', expected: { ...project, ...kind } },
      ] as const
      for (const { expected, ...place } of places)
        await covers(t, stage, { ...place, scopes, oldBotName }, expected)
    }
  }

  await t.test('and wins no lookup that it cannot serve', async (t) => {
    const { broker, simulator } = stage
    for (const path of ['globex/site', 'acme/other', 'acme-platform/api', 'acme']) {
      const answer = await broker.get(
        `/v1/credentials?url=${encodeURIComponent(`${simulator.url}/${path}`)}&organization=acme`,
      )
      t.match(answer, { status: 404, body: { code: 'no_connection_for_url' } }, path)
    }
  })

  await t.test('the verification of a token names its kind too', async (t) => {
    const { token } = stage.simulator.world.createAccessToken({
      kind: 'project',
      path: 'acme/web-shop',
      scopes: WITH_NAMES,
    })
    const { body } = await stage.broker.post('/v1/tokens/verify', { base_url: stage.simulator.url, token })
    t.match(body, { valid: true, token_kind: 'project_access_token' })
  })
})

t.test('a group token with many subgroups covers its group', async (t) => {
  const stage = await setStage(t)
  const { world } = stage.simulator
  // Listed before their group, by name and by number.
  for (let number = 100; number < 250; number += 1) world.addGroup({ fullPath: `zeta/a${number}` })
  for (let number = 0; number < 150; number += 1) world.addProject({ fullPath: `zeta/a100/p${number}` })
  world.addGroup({ fullPath: 'zeta/sub/deep' })
  const deep = {
    token_kind: 'group_access_token',
    group: 'zeta/sub',
    gitlab_id: world.people.findGroup('zeta/sub')?.id ?? 0,
  }
  const zeta = { ...deep, group: 'zeta', gitlab_id: world.people.findGroup('zeta')?.id ?? 0 }
  for (const scopes of [CLONE_ONLY, ['read_api', 'read_repository']]) {
    const kind = scopes === CLONE_ONLY ? { token_kind: 'personal_access_token' } : {}
    await covers(t, stage, { kind: 'group', path: 'zeta', scopes }, { ...zeta, ...kind })
    await covers(t, stage, { kind: 'group', path: 'zeta/sub', scopes }, { ...deep, ...kind })
  }
  for (const group of ['zeta/a249', 'Zeta/A100/P7']) {
    const { answer } = await connectToken(stage, { kind: 'group', path: 'zeta', scopes: CLONE_ONLY, group })
    t.match(answer, { status: 201, body: { group: group.toLowerCase() } }, answer.text)
  }
})

t.test('a token of a person covers the whole instance, or what is named', async (t) => {
  const stage = await setStage(t)
  stage.simulator.world.addUser({ username: 'project_1_bot', name: 'Not a bot' })
  const whole = { token_kind: 'personal_access_token', group: null, gitlab_id: null }
  await covers(t, stage, { username: 'maria', scopes: WITH_NAMES }, whole)
  await covers(t, stage, { username: 'tom', scopes: CLONE_ONLY }, whole)
  await covers(t, stage, { username: 'project_1_bot', scopes: WITH_NAMES }, whole)
  await covers(
    t,
    stage,
    { username: 'tom', scopes: CLONE_ONLY, group: 'acme/platform' },
    { ...whole, group: 'acme/platform', gitlab_id: 2 },
  )
})

t.test('a person who reaches one group alone is no bot of the group', async (t) => {
  const stage = await setStage(t)
  const { world } = stage.simulator
  world.addUser({ username: 'rita' })
  world.addUser({ username: 'paul' })
  world.addGroup({ fullPath: 'initech', members: ['rita'] })
  world.addProject({ fullPath: 'initech/app' })
  world.addProject({ fullPath: 'hooli/app', members: ['paul'] })
  const person = { token_kind: 'personal_access_token' }
  const group = { ...person, group: 'initech', gitlab_id: world.people.findGroup('initech')?.id ?? 0 }
  const id = await covers(t, stage, { username: 'rita', scopes: CLONE_ONLY }, group)
  await covers(
    t,
    stage,
    { username: 'paul', scopes: CLONE_ONLY },
    { ...person, group: 'hooli/app', gitlab_id: world.people.findProject('hooli/app')?.id ?? 0 },
  )

  await t.test('nor is a token whose owner GitLab names its successor', async (t) => {
    const { token } = world.createAccessToken({ kind: 'personal', username: 'rita', scopes: WITH_NAMES })
    const other = world.createAccessToken({ kind: 'group', path: 'initech', scopes: WITH_NAMES })
    const put = (given: string) =>
      stage.broker.request('PUT', `/v1/connections/${id}/token`, { body: { token: given } })
    t.match(await put(other.token), { status: 409, body: { code: 'different_identity' } })
    t.match(await put(token), { status: 200, body: { id, user: { username: 'rita' } } }, 'the same account')
  })
})

t.test(
  'rules of a group that keep a token from Git are named, also where the API says nothing',
  async (t) => {
    const stage = await setStage(t)
    const { world } = stage.simulator
    world.addUser({ username: 'rita' })
    world.addGroup({ fullPath: 'initech', members: ['rita'] })
    world.addProject({ fullPath: 'initech/app' })
    const rules: [code: string, set: () => void][] = [
      ['sso_required', () => world.groupRules.requireSso('initech')],
      ['ip_not_allowed', () => world.groupRules.restrictAddresses('initech')],
      ['fine_grained_required', () => world.granular.demand('initech')],
    ]
    for (const [code, set] of rules) {
      world.groupRules.clear()
      set()
      for (const group of [undefined, 'initech', 'initech/app']) {
        const wanted = { username: 'rita', scopes: CLONE_ONLY, ...(group ? { group } : {}) }
        const { answer } = await connectToken(stage, wanted)
        t.match(answer, { status: 422, body: { code } }, `${code} ${group} ${answer.text}`)
        t.notMatch(answer.text, /discovery/)
      }
      if (code === 'ip_not_allowed') continue
      const bot = await connectToken(stage, { organization: code, kind: 'group', path: 'initech' })
      t.match(bot.answer, { status: 201 }, `${code}: bots are exempt`)
    }
  },
)

t.test('a token is not stored for a place that it does not reach', async (t) => {
  const stage = await setStage(t)
  const { world } = stage.simulator
  world.addProject({ fullPath: 'initech/public', visibility: 'public' })
  world.addGroup({ fullPath: 'umbrella', members: ['tom'] })
  const table: [what: string, wanted: Wanted, code: string][] = [
    [
      'the group of its project',
      { kind: 'project', path: 'acme/web-shop', group: 'acme' },
      'group_out_of_reach',
    ],
    [
      'another project',
      { kind: 'project', path: 'acme/web-shop', group: 'acme/platform/api' },
      'group_out_of_reach',
    ],
    [
      'a public project',
      { kind: 'project', path: 'acme/web-shop', group: 'initech/public' },
      'group_out_of_reach',
    ],
    ['a public group', { kind: 'group', path: 'acme', group: 'initech' }, 'group_out_of_reach'],
    ['the group above', { kind: 'group', path: 'acme/platform', group: 'acme' }, 'group_out_of_reach'],
    [
      'a group that only begins like it',
      { kind: 'group', path: 'acme', group: 'acme-2' },
      'group_out_of_reach',
    ],
    ['nothing in its group', { kind: 'group', path: 'acme', group: 'acme/nothing' }, 'group_out_of_reach'],
    ['a group of others', { username: 'maria', group: 'umbrella' }, 'group_out_of_reach'],
  ]
  for (const scopes of [CLONE_ONLY, ['read_api', 'read_repository']])
    for (const [what, wanted, code] of table) {
      const { answer } = await connectToken(stage, { ...wanted, scopes })
      t.match(answer, { status: 422, body: { code } }, `${what}, ${scopes}: ${answer.text}`)
    }
  const elsewhere = await connectToken(stage, { username: 'maria', group: 'acme/../globex/site' })
  t.match(
    elsewhere.answer,
    { status: 400, body: { errors: [{ field: 'group' }] } },
    'a path that leads elsewhere',
  )
  t.same(await stage.broker.db.selectFrom('connections').select('id').execute(), [])
})

t.test('where GitLab does not say what a token reaches, somebody has to', async (t) => {
  const stage = await setStage(t)
  const { simulator, broker } = stage
  simulator.world.features.associations = false
  const bots = [
    { kind: 'group', path: 'acme/platform' },
    { kind: 'project', path: 'acme/platform/api' },
  ] as const

  for (const bot of bots)
    for (const scopes of [CLONE_ONLY, WITH_NAMES]) {
      const { answer } = await connectToken(stage, { ...bot, scopes })
      t.match(
        answer,
        {
          status: 422,
          body: { code: 'group_required', detail: /private project/, errors: [{ field: 'group' }] },
        },
        answer.text,
      )
    }
  const { token } = simulator.world.createAccessToken({ ...bots[0], scopes: CLONE_ONLY })
  const { body } = await broker.post('/v1/tokens/verify', { base_url: simulator.url, token })
  t.match(body, { valid: true, reason: null }, 'the token itself is good')

  await t.test('a project, which the Git endpoint proves', async (t) => {
    for (const bot of bots)
      for (const scopes of [CLONE_ONLY, WITH_NAMES]) {
        const { answer } = await connectToken(stage, { ...bot, scopes, group: 'acme/platform/api' })
        t.match(answer, { status: 201, body: { group: 'acme/platform/api' } }, answer.text)
      }
  })

  await t.test('no group, of which nothing proves that the token reaches it', async (t) => {
    const { answer } = await connectToken(stage, { ...bots[0], scopes: CLONE_ONLY, group: 'acme/platform' })
    t.match(
      answer,
      {
        status: 422,
        body: { code: 'missing_scopes', missing_scopes: ['read_api'], detail: /private project/ },
      },
      answer.text,
    )
  })

  await t.test('nor a project that the token does not open', async (t) => {
    for (const group of ['globex/site', 'acme/web-shop', 'nowhere/at-all']) {
      const { answer } = await connectToken(stage, { ...bots[1], scopes: CLONE_ONLY, group })
      t.match(answer, { status: 422, body: { code: 'missing_scopes' } }, group)
    }
  })

  await t.test('with read_api the number in the name of the bot is enough', async (t) => {
    const scopes = ['read_api', 'read_repository']
    await covers(
      t,
      stage,
      { ...bots[0], scopes },
      { token_kind: 'group_access_token', group: 'acme/platform', gitlab_id: 2 },
    )
  })
})

t.test('an outage while GitLab is asked is no answer: nothing is stored', async (t) => {
  const stage = await setStage(t)
  const { simulator, broker } = stage
  const outage = (path: RegExp) =>
    simulator.faults.add({ match: { path }, times: 1, effect: { kind: 'status', status: 502 } })
  for (const [path, wanted] of [
    [/associations/, { kind: 'group', path: 'acme', scopes: CLONE_ONLY }],
    [/associations/, { kind: 'project', path: 'acme/web-shop', scopes: WITH_NAMES }],
    [/associations/, { username: 'tom', scopes: CLONE_ONLY, group: 'acme' }],
    [/groups\/1/, { kind: 'group', path: 'acme' }],
    [/groups\/acme/, { username: 'maria', group: 'acme' }],
  ] as const) {
    outage(path)
    const { answer } = await connectToken(stage, wanted as Wanted)
    t.match(answer, { status: 503, body: { code: 'gitlab_unavailable' } }, `${path} ${answer.text}`)
  }
  simulator.world.features.associations = false
  outage(/info\/refs/)
  const { answer } = await connectToken(stage, {
    username: 'tom',
    scopes: CLONE_ONLY,
    group: 'acme/web-shop',
  })
  t.match(answer, { status: 503, body: { code: 'gitlab_unavailable' } })
  t.same(await broker.db.selectFrom('connections').select('id').execute(), [])
})
