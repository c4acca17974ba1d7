import { sql } from 'kysely'
import t from 'tap'
import { type Answer, setStage } from '../support/broker.ts'
import { connectToken, SCANNER_SCOPES } from '../support/connect.ts'
import { connect, HALF_LIFE, lookUp, REFRESH, rowOf } from '../support/lifecycle.ts'

t.test("Git's credential protocol over HTTP", async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { host } = new URL(simulator.url)
  const scanner = await broker.createKey('scanner', ['*'])
  t.beforeEach(() => {
    simulator.faults.clear()
    simulator.requests.clear()
  })
  const lines = (more: Record<string, string> = {}) =>
    Object.entries({ protocol: 'http', host, path: 'acme/web-shop.git', ...more })
      .map(([key, value]) => `${key}=${value}\n`)
      .join('')
  const ask = (
    action: string,
    organization: string,
    {
      text = lines(),
      key = scanner,
      type = 'text/plain',
      query = '',
    }: { text?: string; key?: string | null; type?: string; query?: string } = {},
  ): Promise<Answer> =>
    broker.request('POST', `/v1/git-credential/${action}?organization=${organization}${query}`, {
      key,
      rawBody: text,
      headers: { 'content-type': type },
    })
  const attributeOf = ({ text }: Answer, key: string) =>
    new Map(text.split('\n').map((line) => line.split(/=(.*)/s) as [string, string])).get(key)
  const organizationOf = async (id: string) => (await rowOf(stage, id)).organization
  const leases = () =>
    broker.db.selectFrom('leases').selectAll().where('rejected_at', 'is not', null).execute()

  t.test('get answers text, with a lease', async (t) => {
    const { token } = await connectToken(stage, { organization: 'pasted' })
    const answer = await ask('get', 'pasted')
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('content-type'), 'text/plain; charset=utf-8')
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.match(answer.text, `username=oauth2\npassword=${token}\npassword_expiry_utc=`)
    const lease = await broker.db.selectFrom('leases').selectAll().executeTakeFirstOrThrow()
    t.match(lease, { organization: 'pasted', purpose: 'git' })
    t.equal((await ask('get', 'pasted', { type: 'application/x-www-form-urlencoded' })).text, answer.text)
    for (const path of ['acme/web-shop.git/info/lfs', 'acme/web-shop.wiki.git', 'ACME/web-shop'])
      t.equal(attributeOf(await ask('get', 'pasted', { text: lines({ path }) }), 'password'), token, path)
    t.equal((await ask('store', 'pasted', { text: lines({ password: token }) })).text, '')
  })

  t.test('get of a token near its end, which others hold', async (t) => {
    const id = await connect(stage)
    const organization = await organizationOf(id)
    const held = await lookUp(stage, id, { min_ttl: 7_190 }, scanner)
    clock.advance(7_160)
    const answer = await ask('get', organization)
    t.equal(attributeOf(answer, 'password'), held.body.token, 'Git gets it for the moment that Git needs')
    t.match(
      (await ask('get', organization, { query: '&min_ttl=60' })).text,
      /^quit=true\ncode=token_in_use\n/,
    )
    t.equal(simulator.requests.count(REFRESH), 0)
  })

  t.test('erase rejects the lease of exactly this token, and the next get answers another', async (t) => {
    const id = await connect(stage)
    const organization = await organizationOf(id)
    const other = await broker.createKey('scanner', ['*'])
    const first = await ask('get', organization)
    await ask('get', organization, { key: other })
    const token = attributeOf(first, 'password') as string
    simulator.clock.advance(7_300)
    t.teardown(() => simulator.clock.advance(-7_300))
    const before = (await leases()).length
    t.same(
      [
        (await ask('erase', organization, { text: lines({ password: 'FAKE-another' }) })).text,
        (await leases()).length,
      ],
      ['', before],
      'a password of somebody else changes nothing',
    )
    t.equal((await ask('erase', organization, { text: lines() })).text, '')
    t.equal(simulator.requests.count(REFRESH), 0)
    t.same((await ask('erase', organization, { text: lines({ password: token }) })).text, '')
    t.equal((await leases()).length, before + 1, 'one lease of two')
    t.equal(simulator.requests.count(REFRESH), 1)
    const second = await ask('get', organization)
    t.not(attributeOf(second, 'password'), token)
    t.equal((await ask('erase', organization, { text: lines({ password: token }) })).text, '')
    t.equal(simulator.requests.count(REFRESH), 1, 'the old token is nothing to reject any more')
  })

  t.test('erase by the lease that a newer Git gives back', async (t) => {
    const id = await connect(stage)
    const organization = await organizationOf(id)
    const text = `capability[]=authtype\ncapability[]=state\n${lines()}`
    const first = await ask('get', organization, { text })
    t.match(first.text, /^capability\[\]=authtype\ncapability\[\]=state\nusername=.*\nephemeral=1\n/s)
    const state = attributeOf(first, 'state[]') as string
    const back = `${text}state[]=${state}\n`
    t.match(
      (await ask('erase', organization, { text: back })).text,
      /^code=token_works\nreason=.*GitLab accepts/,
    )
    const other = await broker.createKey('scanner', [organization])
    t.match((await ask('erase', organization, { text: back, key: other })).text, /^code=not_found/)
    clock.advance(HALF_LIFE)
    await ask('get', organization)
    t.equal((await ask('erase', organization, { text: back })).text, '')
  })

  t.test('a refusal is an answer that ends Git', async (t) => {
    for (const [organization, more, code] of [
      ['nobody', {}, 'no_connection_for_url'],
      ['pasted', { host: 'elsewhere.example' }, 'no_connection_for_url'],
      ['pasted', { 'wwwauth[]': 'Negotiate' }, 'not_a_gitlab'],
    ] as const) {
      const { status, text } = await ask('get', organization, { text: lines(more) })
      t.equal(status, 200)
      t.match(
        text,
        new RegExp(`^quit=true\ncode=${code}\nreason=gitlab-token-broker: .*\\(${code}\\)\n`),
        code,
      )
    }
    const several = await broker.request('POST', '/v1/git-credential/get', { key: scanner, rawBody: lines() })
    t.match(several.text, /^quit=true\ncode=organization_required/)
    await broker.db
      .updateTable('connections')
      .set({ status: 'revoked' })
      .where('organization', '=', 'pasted')
      .execute()
    t.match((await ask('get', 'pasted')).text, /^quit=true\ncode=no_connection_for_url\n.*was revoked/)
  })

  t.test('without a path it takes one connection for the whole instance', async (t) => {
    const text = lines({ path: '' })
    const { token } = await connectToken(stage, { organization: 'whole' })
    t.equal(attributeOf(await ask('get', 'whole', { text }), 'password'), token)
    t.equal(
      (await ask('erase', 'whole', { text: lines({ path: '', password: token }) })).text.split('\n')[0],
      'code=token_works',
    )
    await connectToken(stage, { organization: 'whole', username: 'tom' })
    t.match((await ask('get', 'whole', { text })).text, /quit=true\n.*\n.*set credential\.useHttpPath=true/)
    await connectToken(stage, { organization: 'part', group: 'acme' })
    t.match(
      (await ask('get', 'part', { text })).text,
      /quit=true\n.*\n.*limited to a part of it: set credential\.useHttpPath=true/,
    )
    t.match((await ask('get', 'none', { text })).text, /quit=true\ncode=no_connection_for_url/)
    const separate = await connectToken(stage, { organization: 'separate' })
    const { body } = await broker.post('/v1/connections/personal-access-token', {
      organization: 'separate',
      base_url: simulator.url,
      token: simulator.world.createAccessToken({
        kind: 'personal',
        username: 'maria',
        scopes: SCANNER_SCOPES,
      }).token,
      separate: true,
    })
    await broker.request('DELETE', `/v1/connections/${separate.id}?revoke=false`)
    t.match(attributeOf(await ask('get', 'separate', { text }), 'password'), /^glpat-/, body.id)
    await broker.db.deleteFrom('connection_places').where('connection_id', '=', body.id).execute()
    await sql`insert into connection_places (connection_id, instance_id, organization, kind, path, match_path)
      select id, instance_id, organization, 'group', path, path from connections, unnest('{acme/platform,globex}'::text[]) path
      where id = ${body.id}`.execute(broker.db)
    t.match((await ask('get', 'separate', { text })).text, /limited to a part of it/, 'whatever it was once')
    for (const [path, found] of [
      ['acme/platform/api.git', true],
      ['globex/site.git', true],
      ['acme/web-shop.git', false],
    ] as const)
      t.equal(
        attributeOf(await ask('get', 'separate', { text: lines({ path }) }), 'username'),
        found ? 'oauth2' : undefined,
        path,
      )
    const limited = await broker.post('/v1/access-keys', {
      name: 'limited',
      role: 'scanner',
      organizations: ['whole'],
      restrictions: { url_prefixes: [`${simulator.url}/acme`] },
    })
    t.match(
      (await ask('get', 'whole', { text, key: limited.body.key })).text,
      /limited by URL: set credential/,
    )
    t.match((await ask('get', 'whole', { key: limited.body.key })).text, /^username=oauth2/)
    t.match(
      (await ask('get', 'whole', { text: lines({ path: 'globex/site.git' }), key: limited.body.key })).text,
      /^quit=true\ncode=no_connection_for_url/,
    )
  })

  t.test('a request that fails is text as well, with its status', async (t) => {
    for (const action of ['get', 'store', 'erase']) {
      const nobody = await ask(action, 'pasted', { key: null })
      t.match(nobody, { status: 401, text: /^quit=true\ncode=unauthorized\n/ })
      t.match(nobody.headers.get('www-authenticate'), /Bearer/)
      t.match(await ask(action, 'pasted', { type: 'application/json', text: '{}' }), {
        status: 415,
        text: /^quit=true\ncode=unsupported_media_type\n/,
      })
      t.match(await ask(action, 'NOT A SLUG'), { status: 400, text: /^quit=true\ncode=invalid_request\n/ })
      t.match(await ask(action, 'pasted', { query: '&min_ttl=x' }), { status: 400 })
      t.match(await ask(action, 'pasted', { query: '&more=1' }), { status: 400 })
      t.match(await ask(action, 'pasted', { text: lines({ path: 'x'.repeat(70_000) }) }), { status: 413 })
    }
    for (const action of ['get', 'erase'])
      for (const text of ['FAKE-secret', 'protocol=ssh\nhost=a\n', '']) {
        const answer = await ask(action, 'pasted', { text })
        t.match(answer, { status: 400, text: /^quit=true\ncode=invalid_request\n/ })
        t.notMatch(answer.text, /FAKE/)
      }
  })

  t.test('the database being away is a failure that says when to ask again', async (t) => {
    const id = await connect(stage)
    const organization = await organizationOf(id)
    simulator.faults.add({ match: REFRESH, times: Infinity, effect: { kind: 'status', status: 503 } })
    clock.advance(7_300)
    t.match(
      (await ask('get', organization)).text,
      /^quit=true\ncode=gitlab_unavailable\n.*\nretry_after=\d+\n$/,
    )
  })
})
