import t from 'tap'
import type { GranularScope } from '../../simulator/granular.ts'
import { type Stage, setStage } from '../support/broker.ts'

const VERIFY = '/v1/tokens/verify'
const CONNECT = '/v1/connections/personal-access-token'
const DOWNLOAD = ['download_code']
const SHOP: GranularScope = { access: 'selected_memberships', path: 'acme/web-shop', permissions: DOWNLOAD }

const make = ({ simulator }: Stage, granular: GranularScope[], username = 'maria') =>
  simulator.world.createAccessToken({ kind: 'personal', username, scopes: ['granular'], granular }).token

t.test(
  'a fine-grained token whose rights GitLab tells is connected for its places, and served',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator } = stage
    const base_url = simulator.url
    const reads = ['read_project', 'read_group']
    const everywhere: GranularScope = { access: 'all_memberships', permissions: DOWNLOAD }
    const TABLE: [what: string, scopes: GranularScope[], group: string | null, url: string][] = [
      ['all memberships', [everywhere], null, 'acme/platform/api'],
      ['one project', [{ ...SHOP, permissions: [...DOWNLOAD, ...reads] }], 'acme/web-shop', 'acme/web-shop'],
      [
        'one group',
        [{ access: 'selected_memberships', path: 'acme', permissions: [...DOWNLOAD, ...reads] }],
        'acme',
        'acme/platform/api',
      ],
    ]
    for (const [index, [what, scopes, group, path]] of TABLE.entries()) {
      const token = make(stage, scopes)
      const verified = await broker.post(VERIFY, { base_url, token })
      t.match(
        verified.body,
        {
          valid: true,
          token_kind: 'personal_access_token',
          fine_grained: true,
          scopes: ['granular'],
          missing_scopes: [],
        },
        what,
      )
      const organization = `org-${index}`
      const connected = await broker.post(CONNECT, { organization, base_url, token })
      t.match(
        connected,
        { status: 201, body: { group, scopes: ['granular'], status: 'active' } },
        connected.text,
      )
      const url = encodeURIComponent(`${base_url}/${path}.git`)
      const found = await broker.get(`/v1/credentials?url=${url}&organization=${organization}`)
      t.match(found, { status: 200, body: { token, scopes: ['granular'] } }, found.text)
      t.equal((await broker.post(`/v1/connections/${connected.body.id}/verify`)).body.works, true, what)
    }
  },
)

t.test(
  'where GitLab does not tell, the Git endpoint of a private project or group proves the right',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator } = stage
    const base_url = simulator.url
    simulator.world.granular.tellsScopes = false
    const platform: GranularScope = {
      access: 'selected_memberships',
      path: 'acme',
      permissions: ['download_code', 'read_project'],
    }
    const reading: GranularScope = { access: 'all_memberships', permissions: ['read_project', 'read_group'] }
    const TABLE: [what: string, scope: GranularScope, group: string | undefined, expected: object][] = [
      ['nothing named', SHOP, undefined, { reason: 'clone_right_unproven' }],
      ['the project', SHOP, 'acme/web-shop', { valid: true }],
      ['as people write it', SHOP, '/acme/web-shop/', { valid: true }],
      ['another project', SHOP, 'acme/platform/api', { reason: 'missing_scopes', missing_scopes: DOWNLOAD }],
      ['a project of others', SHOP, 'globex/site', { reason: 'group_out_of_reach' }],
      ['nothing there', SHOP, 'acme/nothing', { reason: 'group_out_of_reach' }],
      ['a public project', SHOP, 'globex/public-docs', { reason: 'clone_right_unproven' }],
      ['a group of which it may not list projects', SHOP, 'acme', { reason: 'clone_right_unproven' }],
      ['a group', platform, 'acme', { valid: true }],
      ['a group below', platform, 'acme/platform', { valid: true }],
      ['no right to clone', reading, 'acme/web-shop', { reason: 'missing_scopes', missing_scopes: DOWNLOAD }],
      ['no right to clone in a group', reading, 'acme', { reason: 'missing_scopes' }],
    ]
    for (const [what, scope, group, expected] of TABLE) {
      const token = make(stage, [scope])
      const named = group === undefined ? {} : { group }
      const { status, body } = await broker.post(VERIFY, { base_url, token, ...named })
      t.match({ status, ...body }, { status: 200, fine_grained: true, ...expected }, what)
      const connected = await broker.post(CONNECT, { organization: 'acme', base_url, token, ...named })
      t.equal(connected.status, body.valid ? 201 : 422, `${what}: ${connected.text}`)
      if (!body.valid) t.equal(connected.body.code, body.reason, what)
      await broker.db.deleteFrom('connections').execute()
    }
    const token = make(stage, [SHOP])
    simulator.faults.add({ match: { path: /info\/refs/ }, effect: { kind: 'status', status: 503 } })
    const down = await broker.post(CONNECT, { organization: 'acme', base_url, token, group: 'acme/web-shop' })
    t.match(down, { status: 503, body: { code: 'gitlab_unavailable' } })
    t.equal(
      (await broker.post(CONNECT, { organization: 'acme', base_url, token, group: 'acme/web-shop' })).status,
      201,
      'nothing was stored, and nothing is lost',
    )
  },
)

t.test(
  'a fine-grained token that may not read itself is known by its user, or by what it lacks',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator } = stage
    const base_url = simulator.url
    simulator.world.granular.selfNeedsPermission = true
    const user: GranularScope = { access: 'user', permissions: ['read_user'] }
    const named = { base_url, group: 'acme/web-shop' }
    t.match((await broker.post(VERIFY, { ...named, token: make(stage, [SHOP, user]) })).body, {
      valid: true,
      fine_grained: true,
      account_kind: 'person',
      user: { username: 'maria' },
    })
    const silent = await broker.post(VERIFY, { ...named, token: make(stage, [SHOP]) })
    t.match(silent.body, { valid: false, reason: 'missing_scopes', detail: /Personal Access Token: Read/ })
  },
)

t.test(
  'where a group takes fine-grained tokens only, a token with scopes is refused by that name',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator } = stage
    const base_url = simulator.url
    const { world } = simulator
    const scopes = ['read_api', 'read_repository']
    const legacy = world.createAccessToken({ kind: 'personal', username: 'maria', scopes }).token
    world.addUser({ username: 'service_account_1', name: 'Scanner', bot: true })
    world.addGroup({ fullPath: 'initech', members: ['service_account_1', 'maria'] })
    const ofService = world.createAccessToken({
      kind: 'personal',
      username: 'service_account_1',
      scopes,
    }).token
    const ofGroup = world.createAccessToken({ kind: 'group', path: 'initech', scopes }).token
    world.granular.demand('initech')

    const verify = async (token: string, group?: string) =>
      (await broker.post(VERIFY, { base_url, token, ...(group ? { group } : {}) })).body
    t.match(await verify(legacy), { valid: true, account_kind: 'person', fine_grained: false })
    t.match(await verify(legacy, 'initech'), { valid: false, reason: 'fine_grained_required' })
    t.match(await verify(legacy, 'acme'), { valid: true })
    t.match(await verify(ofService, 'initech'), {
      valid: true,
      account_kind: 'service_account',
      token_kind: 'personal_access_token',
    })
    t.match(await verify(ofGroup, 'initech'), {
      valid: true,
      account_kind: 'bot',
      token_kind: 'group_access_token',
    })
    const refused = await broker.post(CONNECT, {
      organization: 'acme',
      base_url,
      token: legacy,
      group: 'initech',
    })
    t.match(refused, { status: 422, body: { code: 'fine_grained_required' } })
    world.granular.demand('')
    t.match(await verify(legacy), { valid: false, reason: 'fine_grained_required' }, 'the whole instance')
    t.match(await verify(make(stage, [SHOP])), { valid: false, reason: 'clone_right_unproven' })
    t.match(await verify(make(stage, [SHOP]), 'acme/web-shop'), { valid: true })
  },
)

t.test('a fine-grained token rotates itself where it may', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const base_url = simulator.url
  const rotate: GranularScope = { access: 'user', permissions: ['rotate_personal_access_token'] }
  const body = { organization: 'acme', base_url, group: 'acme/web-shop', auto_rotate: true }
  const refused = await broker.post(CONNECT, { ...body, token: make(stage, [SHOP]) })
  t.match(refused, { status: 422, body: { code: 'missing_scopes' } }, refused.text)
  const { body: connection } = await broker.post(CONNECT, { ...body, token: make(stage, [SHOP, rotate]) })
  const rotated = await broker.post(`/v1/connections/${connection.id}/rotate`, {})
  t.match(rotated, { status: 200, body: { token_version: 2, scopes: ['granular'] } }, rotated.text)
})

const KINDS: [token: string, looks: string][] = [
  ['gldt-FAKE-0123456789abcdef', 'deploy_token'],
  ['glcbt-64_FAKE-0123456789abcde', 'job_token'],
  ['glrt-FAKE-0123456789abcdef', 'runner_token'],
  ['glrtr-FAKE-0123456789abcdef', 'runner_token'],
  ['GR1348941FAKE-0123456789abc', 'runner_token'],
  ['glft-FAKE-0123456789abcdef', 'feed_token'],
  ['glptt-FAKE0123456789abcdef0123456789', 'trigger_token'],
  ['gloas-FAKE0123456789abcdef', 'oauth_app_secret'],
  ['glsoat-FAKE-0123456789abcdef', 'scim_token'],
  ['glagent-FAKE-0123456789abcdef', 'agent_token'],
  ['glimt-FAKE-0123456789abcdef', 'incoming_mail_token'],
  ['glffct-FAKE-0123456789abcdef', 'feature_flags_client_token'],
  ['gliamrt-FAKE-0123456789abcdef', 'oauth_refresh_token'],
  ['ghp_FAKE0123456789abcdef0123456789', 'github_token'],
]

t.test('what GitLab does not know is named by its prefix, and a prefix alone refuses nothing', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const base_url = simulator.url
  for (const [token, looks_like] of KINDS) {
    const verified = await broker.post(VERIFY, { base_url, token })
    t.match(verified, { status: 200, body: { valid: false, reason: 'wrong_token_kind', looks_like } }, token)
    t.notOk(verified.text.includes(token), token)
    const connected = await broker.post(CONNECT, { organization: 'acme', base_url, token })
    t.match(connected, { status: 422, body: { code: 'wrong_token_kind', looks_like } }, token)
    t.match(connected.body.detail, /^This looks like /, token)
  }
  t.match((await broker.post(VERIFY, { base_url, token: 'glpat-FAKE-0123456789abc' })).body, {
    reason: 'token_unknown',
    looks_like: null,
  })
  // An admin of GitLab may have chosen this prefix for access tokens.
  const chosen = 'gldt-FAKE-chosen-by-an-admin'
  const self = { id: 1, user_id: 1, scopes: ['read_api', 'read_repository'], active: true, revoked: false }
  simulator.faults.add({
    match: { path: '/api/v4/personal_access_tokens/self' },
    effect: { kind: 'status', status: 200, body: JSON.stringify(self) },
  })
  simulator.faults.add({
    match: { path: '/api/v4/user' },
    effect: { kind: 'status', status: 200, body: JSON.stringify({ id: 1, username: 'maria', bot: false }) },
  })
  t.match((await broker.post(VERIFY, { base_url, token: chosen })).body, { valid: true, looks_like: null })
})
