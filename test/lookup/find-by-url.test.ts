import t from 'tap'
import { setStage, type TestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

type More = Record<string, string>
const ACME = { organization: 'acme' }

const credentialFor = (broker: TestBroker, url: string, more: More = ACME, key?: string) =>
  broker.get(`/v1/credentials?${new URLSearchParams({ url, ...more })}`, key ? { key } : {})
const explain = (broker: TestBroker, url: string, more: More = ACME, key?: string) =>
  broker.get(`/v1/credentials/explain?${new URLSearchParams({ url, ...more })}`, key ? { key } : {})

t.test('a repository URL finds its connection', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const wide = await connectToken(stage)
  const platform = await connectToken(stage, { username: 'tom', group: 'acme/platform' })
  const project = await connectToken(stage, { username: 'tom', group: 'acme/web-shop' })
  // Access tokens are served without asking GitLab: its name can be one that tests may not call.
  const moveTo = (base_url: string) =>
    broker.db.updateTable('instances').set({ base_url }).where('id', '=', stage.instanceId).execute()

  t.test('at the address of the simulator, port and all', async (t) => {
    const { status, body } = await credentialFor(broker, `${simulator.url}/acme/platform/api.git`)
    t.equal(status, 200)
    t.equal(body.connection_id, platform.id)
    t.equal(simulator.world.tokenState(body.token), 'active')
    t.equal(body.base_url, simulator.url)
  })

  t.test('in every form, and the group that covers most of the path wins', async (t) => {
    await moveTo('https://gitlab.example.com')
    const host = 'gitlab.example.com'
    const table: [string, string][] = [
      [`https://${host}/acme/platform/api`, platform.id],
      [`https://${host}/acme/platform/api.git`, platform.id],
      [`https://${host}/acme/platform/api/`, platform.id],
      [`https://${host}/acme/platform/api/-/tree/main/src`, platform.id],
      [`https://${host}/acme/platform/deeper/still/api`, platform.id],
      [`https://${host}/acme/platform`, platform.id],
      ['HTTPS://GitLab.Example.COM/Acme/Platform/API', platform.id],
      [`git@${host}:acme/platform/api.git`, platform.id],
      [`ssh://git@${host}/acme/platform/api.git`, platform.id],
      [`ssh://git@${host}:2222/acme/platform/api.git`, platform.id],
      [`https://${host}/acme/web-shop`, project.id],
      [`https://${host}/acme/web-shop.git`, project.id],
      [`https://${host}/acme/web-shop/-/merge_requests/1`, project.id],
      [`https://${host}/acme/web-shop-2`, wide.id],
      [`https://${host}/acme/platform-2/api`, wide.id],
      [`https://${host}/acme`, wide.id],
      [`https://${host}/globex/site`, wide.id],
      [`https://${host}/somebody/else`, wide.id],
    ]
    for (const [url, id] of table) {
      const { body } = await credentialFor(broker, url)
      t.equal(body.connection_id, id, url)
    }
  })

  t.test('below the path of the instance, not beside it', async (t) => {
    await moveTo('https://git.example.com/gitlab')
    const found = await credentialFor(broker, 'https://git.example.com/gitlab/acme/platform/api.git')
    t.equal(found.body.connection_id, platform.id)
    const ssh = await credentialFor(broker, 'git@git.example.com:gitlab/acme/platform/api.git')
    t.equal(ssh.body.connection_id, platform.id)
    const beside = await credentialFor(broker, 'https://git.example.com/acme/platform/api.git')
    t.equal(beside.body.code, 'no_connection_for_url')
  })

  t.test('over SSH by the host alone, whatever the port of the instance', async (t) => {
    for (const base of ['https://gitlab.example.com:8443', 'http://gitlab.example.com:8080/gitlab']) {
      await moveTo(base)
      const { pathname } = new URL(base)
      const path = `${pathname.slice(1)}/acme/platform/api.git`.replace(/^\//, '')
      for (const url of [
        `git@gitlab.example.com:${path}`,
        `ssh://git@gitlab.example.com:2222/${path}`,
        `${base}/acme/platform/api.git`,
      ]) {
        t.equal((await credentialFor(broker, url)).body.connection_id, platform.id, `${url} at ${base}`)
        t.match((await explain(broker, url)).body.candidates[0], { connection_id: platform.id, won: true })
      }
      const other = await credentialFor(broker, `git@other.example.com:${path}`)
      t.equal(other.body.code, 'no_connection_for_url')
    }
  })

  t.test('nothing of another host, port or scheme', async (t) => {
    await moveTo('https://gitlab.example.com')
    for (const url of [
      'https://gitlab.com/acme/web-shop',
      'https://gitlab.example.com:8443/acme/web-shop',
      'http://gitlab.example.com/acme/web-shop',
      'https://gitlab.example.com.evil.example/acme/web-shop',
      'https://evil.example/gitlab.example.com/acme/web-shop',
    ]) {
      t.match(await credentialFor(broker, url), { status: 404, body: { code: 'no_connection_for_url' } }, url)
      t.match((await explain(broker, url)).body, { result: 'none', candidates: [] }, url)
    }
  })

  t.test('what is no URL of a repository is a fault of the field url', async (t) => {
    for (const url of [
      'acme/web-shop',
      'ftp://gitlab.com/acme',
      'https://gitlab.com/%00',
      'x'.repeat(2049),
    ]) {
      t.match(await credentialFor(broker, url), {
        status: 400,
        body: { code: 'invalid_request', errors: [{ field: 'url' }] },
      })
    }
    t.match((await broker.get('/v1/credentials')).body, {
      code: 'invalid_request',
      errors: [{ field: 'url' }],
    })
  })

  t.test('only within the organizations of the key', async (t) => {
    await moveTo('https://gitlab.example.com')
    const url = 'https://gitlab.example.com/acme/platform/api'
    const acme = await broker.createKey('scanner', ['acme'])
    const other = await broker.createKey('scanner', ['globex', 'initech'])
    t.equal((await credentialFor(broker, url, {}, acme)).body.connection_id, platform.id)
    const globex = { organization: 'globex' }
    t.match(await credentialFor(broker, url, globex, other), {
      status: 404,
      body: { code: 'no_connection_for_url', candidates: [] },
    })
    t.match((await explain(broker, url, globex, other)).body, { result: 'none', candidates: [] })
    t.equal((await credentialFor(broker, url, { organization: 'acme' }, other)).body.code, 'not_found')
    t.equal((await explain(broker, url, { organization: 'acme' }, other)).status, 404)
    const none = await credentialFor(broker, url, { organization: 'initech' }, other)
    t.equal(none.body.code, 'no_connection_for_url')
  })
})

t.test('explain lists what lookup does, in order and with reasons, and leaves no lease', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const url = `${simulator.url}/acme/platform/api`
  const wide = await connectToken(stage)
  clock.advance(10)
  const group = await connectToken(stage, { username: 'tom', group: 'acme' })
  clock.advance(10)
  const later = await connectToken(stage, { group: 'acme' })
  const dying = await connectToken(stage, {
    username: 'tom',
    group: 'acme/platform',
    expiresAt: '2026-11-03',
  })
  clock.advance(86_400)

  const { body } = await explain(broker, url)
  const line = (id: string, won: boolean, reason: string) => ({ connection_id: id, won, reason })
  t.match(body, {
    result: 'winner',
    candidates: [
      line(later.id, true, 'best match'),
      line(group.id, false, 'another was verified later'),
      line(wide.id, false, 'another covers a longer part of the path'),
      line(dying.id, false, 'its token has reached its end'),
    ],
  })
  t.equal(body.candidates.length, 4)
  t.same(await broker.db.selectFrom('leases').select('id').execute(), [])
  t.equal((await credentialFor(broker, url)).body.connection_id, later.id)
})

t.test('when only dead connections cover it, the answer says which and why', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { id } = await connectToken(stage, { expiresAt: '2026-11-03' })
  clock.advance(86_400)
  const answer = await credentialFor(broker, `${simulator.url}/acme/web-shop`)
  t.match(answer.body, {
    code: 'no_connection_for_url',
    detail: `A connection covers this URL, but its token has reached its end: ${id} of acme.`,
    candidates: [{ connection_id: id, organization: 'acme' }],
  })
})

t.test('a key of more than one organization names the one that a lookup by URL is about', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const url = `${simulator.url}/acme/web-shop`
  const globex = await connectToken(stage, { organization: 'globex' })
  const every = await broker.createKey('scanner', ['*'])
  const wider = await broker.createKey('scanner', ['*', 'acme'])
  const some = await broker.createKey('scanner', ['globex', 'acme'])
  const required = {
    status: 400,
    body: { code: 'organization_required', errors: [{ field: 'organization' }] },
  }
  for (const ask of [credentialFor, explain]) {
    for (const key of [undefined, every, wider]) {
      const answer = await ask(broker, url, {}, key)
      t.match(answer, required, 'however few connections there are')
      t.notOk('organizations' in answer.body)
      t.notMatch(answer.text, 'globex')
    }
    const answer = await ask(broker, url, {}, some)
    t.match(answer, required)
    t.same(answer.body.organizations, ['globex', 'acme'], 'those of the key')
  }
  t.same(await broker.db.selectFrom('leases').select('id').execute(), [], 'nothing was handed out')

  const ssh = `git@${new URL(url).hostname}:acme/web-shop.git`
  t.equal((await credentialFor(broker, ssh, {}, every)).body.code, 'organization_required')
  t.match(await credentialFor(broker, 'no URL', {}, every), { body: { errors: [{ field: 'url' }] } })
  for (const key of [every, wider, some]) {
    t.equal((await credentialFor(broker, url, { organization: 'globex' }, key)).body.connection_id, globex.id)
    t.match(await credentialFor(broker, url, ACME, key), {
      status: 404,
      body: { code: 'no_connection_for_url', candidates: [] },
    })
  }
})

t.test('what another organization has neither wins nor loses', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const url = `${simulator.url}/acme/web-shop`
  const acme = await connectToken(stage)
  clock.advance(60)
  const globex = await connectToken(stage, { organization: 'globex', group: 'acme' })
  const key = await broker.createKey('scanner', ['acme'])
  t.equal((await credentialFor(broker, url, {}, key)).body.connection_id, acme.id, 'named by the key')
  t.equal((await credentialFor(broker, url, ACME)).body.connection_id, acme.id)
  t.equal((await credentialFor(broker, url, { organization: 'globex' })).body.connection_id, globex.id)
  const { body } = await explain(broker, url, ACME)
  t.match(body, { result: 'winner', candidates: [{ connection_id: acme.id, won: true }] })
  t.equal(body.candidates.length, 1)
})
