import type { LookupFunction } from 'node:net'
import t from 'tap'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

const SCOPES = ['read_user', 'read_api', 'read_repository']

t.test('addresses and groups at the API', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const tokenOf = (username: string) =>
    simulator.world.createAccessToken({ kind: 'personal', username, scopes: SCOPES }).token
  const token = tokenOf('maria')
  const { host } = new URL(simulator.url)
  const verify = (body: object) => broker.post('/v1/tokens/verify', { token, ...body })

  t.test('any page of a registered instance leads to it, and names the group', async (t) => {
    const table: [address: string, group: string | null][] = [
      [simulator.url, null],
      [host, null],
      [`${simulator.url}/users/sign_in`, null],
      [`  <${simulator.url}/-/user_settings/personal_access_tokens?x>  `, null],
      [`${simulator.url.toUpperCase()}/`, null],
      [`${simulator.url}/acme`, 'acme'],
      [`${simulator.url}/groups/acme/platform/-/issues`, 'acme/platform'],
      [`${simulator.url}/acme/web-shop/-/tree/main`, 'acme/web-shop'],
      [`${host}/acme/web-shop.git`, 'acme/web-shop'],
    ]
    for (const [base_url, group] of table)
      t.match(
        await verify({ base_url }),
        { status: 200, body: { valid: true, base_url: simulator.url, group, did_you_mean: null } },
        base_url,
      )
  })

  t.test('a connection is made at the instance; the group limits it where it is sent', async (t) => {
    const connect = (body: object) =>
      broker.post('/v1/connections/personal-access-token', { organization: 'acme', ...body })
    const base_url = `${simulator.url}/acme/platform`
    const open = await connect({ base_url, token: tokenOf('maria') })
    t.match(open, { status: 201, body: { base_url: simulator.url, group: null } })
    for (const group of [
      `${simulator.url}/groups/acme/platform`,
      '@acme/platform',
      '"/acme/platform/"',
      'acme%2Fplatform',
      ' acme / platform ',
    ]) {
      const limited = await connect({ base_url, token: tokenOf('tom'), group })
      t.ok([200, 201].includes(limited.status), `${group}: ${limited.status}`)
      t.match(limited.body, { base_url: simulator.url, group: 'acme/platform' }, group)
    }
    const refused = { status: 400, body: { code: 'invalid_request', errors: [{ field: 'group' }] } }
    for (const group of ['https://gitlab.com/acme/platform', 'my group', simulator.url, '..', '/'])
      t.match(await connect({ base_url, token, group }), refused, group)
    t.match((await connect({ base_url, token, group: 'acme/none' })).body.code, 'group_out_of_reach')
    const oauth = await broker.post('/v1/connections/oauth-token', {
      organization: 'acme',
      base_url: `${simulator.url}/users/sign_in`,
      access_token: token,
    })
    t.match(oauth.body.code, 'wrong_token_kind', 'the instance was found, and asked')
  })

  t.test('an instance is registered under its base URL, whatever page of it is entered', async (t) => {
    const added = await broker.post('/v1/instances', { base_url: 'https://New.example.com/users/sign_in' })
    t.match(added, { status: 201, body: { base_url: 'https://new.example.com' } })
    const again = await broker.post('/v1/instances', { base_url: 'new.example.com/explore' })
    t.match(again, { status: 409, body: { code: 'instance_exists' } })
    for (const base_url of ['not a url', 'https://maria:FAKE-word@x.example', '', 'ftp://x.example'])
      t.match(await broker.post('/v1/instances', { base_url }), { status: 400 }, base_url)
  })
})

t.test('a server that does not exist, one that is down, and one that was meant', async (t) => {
  const lookup: LookupFunction = (hostname, _options, callback) => {
    const code = hostname.endsWith('.down.example') ? 'EAI_AGAIN' : 'ENOTFOUND'
    callback(Object.assign(new Error(`${code} ${hostname}`), { code, syscall: 'getaddrinfo' }), '', 0)
  }
  const stage = await setStage(t, { broker: { gitlab: { lookup } } })
  const { broker } = stage
  const token = 'glpat-FAKE-of-the-company'
  const connect = (body: object) =>
    broker.post('/v1/connections/personal-access-token', { organization: 'acme', token, ...body })
  await broker.post('/v1/instances', { base_url: 'https://gitlab.acme.example' })

  t.match(await connect({ base_url: 'https://nowhere.example' }), {
    status: 422,
    body: { code: 'host_not_found' },
  })
  const down = await connect({ base_url: 'https://gitlab.down.example' })
  t.match(down, { status: 503, body: { code: 'gitlab_unavailable' } })
  t.notOk('did_you_mean' in down.body)
  const registered = await connect({ base_url: 'https://gitlab.acme.example' })
  t.match(registered.body, { code: 'gitlab_unavailable', detail: /DNS knows no host/ }, 'it was there once')

  const table: [base_url: string, code: string][] = [
    ['https://gitlab.acme.exmaple', 'host_not_found'],
    ['https://gitlab.acme.example:8443/users/sign_in', 'host_not_found'],
    ['http://gitlab.acme.example', 'address_not_allowed'],
  ]
  for (const [base_url, code] of table) {
    const did_you_mean = 'https://gitlab.acme.example'
    const refused = await connect({ base_url })
    t.match(refused, { status: 422, body: { code, did_you_mean } }, base_url)
    t.match(refused.body.detail, 'Did you mean https://gitlab.acme.example?')
    const verified = await broker.post('/v1/tokens/verify', { base_url, token })
    t.match(verified.body, { valid: false, reason: code, did_you_mean }, base_url)
  }

  // The instance of another organization is not suggested.
  await connectToken(stage, { organization: 'globex' })
  await broker.db
    .updateTable('instances')
    .set({ base_url: 'https://secret.globex.example' })
    .where('id', '=', stage.instanceId)
    .execute()
  const base_url = 'https://secret.globex.exmaple'
  t.equal((await connect({ base_url })).body.did_you_mean, undefined)
  t.equal(
    (await connect({ base_url, organization: 'globex' })).body.did_you_mean,
    'https://secret.globex.example',
  )
})

t.test('UNREGISTERED_INSTANCES=refuse says which one may be meant', async (t) => {
  const { broker } = await setStage(t, { broker: { config: { unregisteredInstances: 'refuse' } } })
  const base_url = 'https://gitlab.con'
  t.match(await broker.post('/v1/tokens/verify', { base_url, token: 'glpat-FAKE-of-the-company' }), {
    status: 422,
    body: { code: 'instance_not_registered', did_you_mean: 'https://gitlab.com' },
  })
})
