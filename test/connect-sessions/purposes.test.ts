import t from 'tap'
import { approve } from '../../simulator/browser.ts'
import { connectByOAuth, type Stage, setStage } from '../support/broker.ts'
import { connectToken, SCANNER_SCOPES } from '../support/connect.ts'
import { lookUp } from '../support/lifecycle.ts'
import { createBrowser } from '../support/page-forms.ts'

const openLink = async ({ broker }: Stage, body: object) => {
  const made = await broker.post('/v1/connect-sessions', body)
  t.equal(made.status, 201, made.text)
  const browser = createBrowser(broker, broker.url)
  return { browser, page: (await browser.open(made.body.url)).text, id: made.body.id }
}

/** Through GitLab's pages, up to the answer of the callback. */
const goThrough = async (stage: Stage, body: object, username = 'maria') => {
  const { browser, page } = await openLink(stage, body)
  const start = await browser.submit(page, '/connect/oauth/simulator')
  const callback = await browser.get(await approve(start.headers.get('location')!, { username }))
  return { browser, page, location: callback.headers.get('location') ?? '' }
}

const kill = async ({ broker, simulator }: Stage, id: string) => {
  const { body } = await broker.get(`/v1/connections/${id}/credential`)
  simulator.world.revokeToken(body.token)
  await broker.post(`/v1/connections/${id}/verify`)
}

t.test('a link reconnects one connection, with the same id for the scanners', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const count = async () => (await broker.get('/v1/connections?limit=100')).body.items.length

  await t.test('by OAuth of the same person', async (t) => {
    const id = await connectByOAuth(stage, { organization: 'acme' })
    const { page, location } = await goThrough(stage, { organization: 'acme', connection_id: id })
    t.match(page, 'You are reconnecting the GitLab account of maria for acme.')
    t.match(location, `status=connected&connection_id=${id}`)
    t.match((await lookUp(stage, id)).body, { connection_id: id, token_version: 2 })
    t.equal(await count(), 1)
  })

  await t.test('of a pasted token by OAuth', async (t) => {
    const { id } = await connectToken(stage, { organization: 'pasted' })
    await kill(stage, id)
    const { location } = await goThrough(stage, { organization: 'pasted', connection_id: id })
    t.match(location, /\/connect\/confirm/, 'maria is connected in acme too')
  })

  await t.test('of another person after a yes', async (t) => {
    const { id } = await connectToken(stage, { organization: 'other', group: 'acme' })
    const body = { organization: 'other', connection_id: id }
    const { browser, location } = await goThrough(stage, body, 'tom')
    t.match(location, /\/connect\/confirm/)
    const page = (await browser.open(location)).text
    t.match(page, 'Let GitLab user tom take the place of maria?')
    t.match((await broker.get(`/v1/connections/${id}`)).body, {
      user: { username: 'maria' },
      token_version: 1,
    })
    const end = await browser.submit(page, '/connect/confirm')
    t.match(end.headers.get('location'), `status=connected&connection_id=${id}`)
    t.match((await broker.get(`/v1/connections/${id}`)).body, {
      user: { username: 'tom' },
      group: 'acme',
      method: 'oauth',
      refreshable: true,
      token_version: 2,
    })
    const event = await broker.db
      .selectFrom('audit_events')
      .select('details')
      .where('subject_id', '=', id)
      .where('action', '=', 'connection.reconnected')
      .executeTakeFirstOrThrow()
    t.match(event.details, { identity: 'other', account_before: '1', account: '2' })
  })

  await t.test('and not after a no', async (t) => {
    const { id } = await connectToken(stage, { organization: 'refused' })
    const body = { organization: 'refused', connection_id: id }
    const { browser, location } = await goThrough(stage, body, 'tom')
    const end = await browser.submit((await browser.open(location)).text, '/connect/decline')
    t.match(end.headers.get('location'), 'code=access_denied')
    t.match((await lookUp(stage, id)).body, { token_version: 1 })
  })

  await t.test('whose account does not reach what the connection covers: nothing changes', async (t) => {
    stage.simulator.world.addGroup({ fullPath: 'umbrella', members: ['maria'] })
    const { id } = await connectToken(stage, { organization: 'reach', group: 'umbrella' })
    const { location } = await goThrough(stage, { organization: 'reach', connection_id: id }, 'tom')
    t.match(location, 'code=group_out_of_reach')
    t.match((await lookUp(stage, id)).body, { token_version: 1 })
  })

  await t.test('by a pasted token, of another person only after a yes', async (t) => {
    const { id } = await connectToken(stage, { organization: 'paste', group: 'acme' })
    const { browser, page } = await openLink(stage, { organization: 'paste', connection_id: id })
    t.notMatch(page, 'name="group"', 'the connection says itself what it covers')
    const { token } = stage.simulator.world.createAccessToken({
      kind: 'personal',
      username: 'tom',
      scopes: SCANNER_SCOPES,
    })
    const fields = { base_url: stage.simulator.url, token }
    const asked = await browser.submit(page, '/connect/token', fields)
    t.match(asked, { status: 409 })
    t.match(asked.text, 'Let GitLab user tom take the place of maria?')
    t.notMatch(asked.text, token)
    const wrong = await browser.submit(asked.text, '/connect/token', { ...fields, accept_identity: '1' })
    t.match(wrong, { status: 409 }, 'a yes to somebody else is none')
    const end = await browser.submit(wrong.text, '/connect/token', { ...fields, accept_identity: '2' })
    t.match(end.headers.get('location'), `status=connected&connection_id=${id}`)
    t.match((await lookUp(stage, id)).body, { token, token_version: 2 })
  })

  await t.test('at its own instance alone', async (t) => {
    const { id } = await connectToken(stage, { organization: 'server' })
    const { browser, page } = await openLink(stage, { organization: 'server', connection_id: id })
    const fields = { base_url: 'https://gitlab.com', token: 'glpat-FAKE-0123456789' }
    const answer = await browser.submit(page, '/connect/token', fields)
    t.equal(answer.status, 400)
    t.match(answer.text, 'This link is for another GitLab')
  })
})

t.test('a link says where to connect, for what, and under which labels', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const labels = { team: 'payments' }
  const purpose = { base_url: `${simulator.url}/`, group: 'acme/platform', labels }
  const { page, location } = await goThrough(stage, { organization: 'acme', ...purpose })
  t.match(page, `value="${simulator.url}"`)
  const id = new URL(location).searchParams.get('connection_id')
  t.match((await broker.get(`/v1/connections/${id}`)).body, { group: 'acme/platform', labels })
  t.match((await broker.get('/v1/connections?label=team=payments')).body.items, [{ id }])

  const out = await goThrough(stage, { organization: 'acme', group: 'nowhere' })
  t.match(out.location, 'code=group_out_of_reach')
  t.equal(simulator.world.events.filter(({ kind }) => kind === 'revoked').length, 1, 'the grant is revoked')

  const other = await openLink(stage, { organization: 'acme', base_url: 'https://gitlab.com' })
  t.notMatch(other.page, '/connect/oauth/simulator', 'apps of other instances are not offered')
})

t.test('links are listed and ended', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const manager = await broker.createKey('manager', ['acme'])
  const connection = await connectToken(stage, { organization: 'acme' })
  const elsewhere = await connectToken(stage, { organization: 'globex' })
  const { browser, page, id } = await openLink(stage, {
    organization: 'acme',
    connection_id: connection.id,
    labels: { team: 'payments' },
  })
  await openLink(stage, { organization: 'globex', expires_in: 60 })

  const listed = async (query = '', key = manager) =>
    (await broker.get(`/v1/connect-sessions${query}`, { key })).body.items
  t.match(await listed(), [
    {
      id,
      organization: 'acme',
      state: 'open',
      connection_id: connection.id,
      base_url: stage.simulator.url,
      group: null,
      labels: { team: 'payments' },
      methods: ['oauth', 'device', 'token'],
      used_at: null,
    },
  ])
  const all = await broker.get('/v1/connect-sessions?limit=1')
  t.equal(all.body.items.length, 1)
  const next = await broker.get(`/v1/connect-sessions?limit=1&cursor=${all.body.next_cursor}`)
  t.match(next.body, { items: [{ organization: 'globex' }], next_cursor: null })
  t.notMatch(all.text + next.text, /gcs_/)
  t.equal((await broker.get('/v1/connect-sessions?organization=globex', { key: manager })).status, 404)

  const end = (id: string, key?: string) =>
    broker.request('DELETE', `/v1/connect-sessions/${id}`, key === undefined ? {} : { key })
  t.equal((await end(next.body.items[0].id, manager)).status, 404)
  t.equal((await end('01900000-0000-7000-8000-000000000000')).status, 404)
  t.equal((await end('x')).status, 400)
  t.equal((await end(id, manager)).status, 204)
  t.equal((await end(id, manager)).status, 204, 'again')
  t.match(await listed(), [{ id, state: 'ended' }])
  t.match((await browser.open('/connect')).text, 'This link was ended')
  t.equal((await browser.submit(page, '/connect/oauth/simulator')).status, 410)
  clock.advance(61)
  t.match((await broker.get('/v1/connect-sessions?organization=globex')).body.items, [{ state: 'expired' }])

  await t.test('an authorization that was under way comes to nothing', async (t) => {
    const { browser, page, id } = await openLink(stage, { organization: 'acme' })
    const start = await browser.submit(page, '/connect/oauth/simulator')
    const callback = await approve(start.headers.get('location')!, { username: 'tom' })
    await end(id)
    t.match((await browser.get(callback)).headers.get('location'), 'code=session_expired')
  })

  await t.test('what a link cannot be for is told when it is made', async (t) => {
    const make = (body: object) => broker.post('/v1/connect-sessions', { organization: 'acme', ...body })
    for (const [body, status, code] of [
      [{ connection_id: elsewhere.id }, 404, 'not_found'],
      [{ connection_id: '01900000-0000-7000-8000-000000000000' }, 404, 'not_found'],
      [{ connection_id: 'x' }, 400, 'invalid_request'],
      [{ connection_id: connection.id, base_url: 'https://gitlab.com' }, 400, 'invalid_request'],
      [{ connection_id: connection.id, group: 'acme' }, 400, 'invalid_request'],
      [{ base_url: 'ftp://gitlab.com' }, 400, 'invalid_request'],
      [{ group: '' }, 400, 'invalid_request'],
      [{ group: ' / ' }, 400, 'invalid_request'],
      [{ labels: { team: 7 } }, 400, 'invalid_request'],
      [{ connection: connection.id }, 400, 'invalid_request'],
    ] as const) {
      t.match(await make(body), { status, body: { code } }, JSON.stringify(body))
    }
  })
})
