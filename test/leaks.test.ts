import { type Kysely, sql } from 'kysely'
import t from 'tap'
import { approve } from '../simulator/browser.ts'
import { ADMIN_KEY, type Answer, MASTER_KEY, setStage } from './support/broker.ts'
import { authorize, callBack, createSession, startOAuth } from './support/oauth.ts'

/** The forms in which a secret could be written: as it is, in hex, and in base64 at each of the three alignments. */
const formsOf = (secret: string | Uint8Array): string[] => {
  const bytes = Buffer.from(secret as string)
  const inBase64 = [0, 1, 2].flatMap((offset) => {
    const aligned = bytes.subarray((3 - offset) % 3)
    const whole = aligned.subarray(0, aligned.length - (aligned.length % 3))
    return [whole.toString('base64'), whole.toString('base64url')]
  })
  const plain = typeof secret === 'string' ? [secret, encodeURIComponent(secret)] : []
  return [...new Set([...plain, bytes.toString('hex'), ...inBase64])]
}

/** Every value of every table of ours, as text; one entry a column. */
const dumpDatabase = async (db: Kysely<never>): Promise<{ where: string; text: string }[]> => {
  const columns = await sql<{ table_schema: string; table_name: string; column_name: string }>`
    select table_schema, table_name, column_name from information_schema.columns
    where table_schema not in ('pg_catalog', 'information_schema')
  `.execute(db)
  const dump: { where: string; text: string }[] = []
  for (const { table_schema, table_name, column_name } of columns.rows) {
    const column = sql`convert_from(convert_to(${sql.ref(column_name)}::text, 'UTF8'), 'UTF8')`
    const { rows } = await sql<{ text: string | null }>`
      select string_agg(${column}, ' ') as text from ${sql.table(`${table_schema}.${table_name}`)}
    `.execute(db)
    dump.push({ where: `${table_schema}.${table_name}.${column_name}`, text: rows[0]?.text ?? '' })
  }
  return dump
}

t.test('a secret that goes in is found nowhere but in ciphertext', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { world } = simulator
  const secrets = new Map<string, string | Uint8Array>([
    ['the admin key', ADMIN_KEY],
    ['the master key', MASTER_KEY],
    ['the client secret', 'gloas-FAKE-simulator-client-secret'],
  ])
  const plant = (what: string, secret: string) => {
    secrets.set(what, secret)
    return secret
  }
  /** Everything that we answered, except where the secret is what was asked for. */
  const answers: { what: string; text: string }[] = []
  const keep = (what: string, answer: Answer) => {
    answers.push({ what, text: JSON.stringify([...answer.headers]) + answer.text })
    return answer
  }
  const connect = (what: string, body: object) =>
    broker
      .post('/v1/connections/personal-access-token', {
        organization: 'acme',
        base_url: simulator.url,
        ...body,
      })
      .then((answer) => keep(what, answer))
  const make = (what: string, scopes: string[] = ['read_api', 'read_repository'], username = 'maria') =>
    plant(what, world.createAccessToken({ kind: 'personal', username, scopes }).token)

  await t.test('whatever is done with it', async (t) => {
    // Connected, listed, looked up.
    const pasted = await connect('connected', { token: make('a pasted token'), name: 'Maria' })
    t.equal(pasted.status, 201)
    await connect('connected again', { token: make('a newer token') })
    keep('list', await broker.get('/v1/connections'))
    const scanner = await broker.createKey('scanner', ['acme'])
    plant('a scanner key', scanner)
    keep('keys', await broker.get('/v1/access-keys'))
    keep('apps', await broker.get('/v1/oauth-apps'))
    const url = encodeURIComponent(`${simulator.url}/acme/web-shop`)
    const credential = await broker.get(`/v1/credentials?url=${url}`, { key: scanner })
    t.equal(credential.status, 200)
    keep('explain', await broker.get(`/v1/credentials/explain?url=${url}`, { key: scanner }))
    keep(
      'url with a password',
      await broker.get(
        `/v1/credentials?url=${encodeURIComponent(
          `http://oauth2:${plant('a token in a URL', 'glpat-FAKE-in-a-url-000')}@gitlab.invalid/a/b`,
        )}`,
      ),
    )

    // Refused by GitLab, by us, and by the way there.
    await connect('unknown', { token: plant('an unknown token', 'glpat-FAKE-unknown-0000') })
    await connect('scopes', { token: make('a narrow token', ['read_user']) })
    await connect('blocked', { token: make('a blocked token', ['read_repository'], 'blake') })
    const revoked = make('a revoked token')
    world.revokeToken(revoked)
    await connect('revoked', { token: revoked })
    await connect('reach', { token: make('a short-armed token'), group: 'acme/nothing' })
    await connect('input', { token: plant('a token in bad input', 'glpat-FAKE-bad-input-00'), colour: 'red' })
    await connect('field', { tokn: plant('a token in an unknown field', 'glpat-FAKE-misspelt-000') })
    await connect('address', {
      token: plant('a token to nowhere', 'glpat-FAKE-nowhere-0000'),
      base_url: 'https://10.0.0.7',
    })
    keep(
      'malformed',
      await broker.request('POST', '/v1/tokens/verify', {
        rawBody: `{"token":"${plant('a token in bad JSON', 'glpat-FAKE-bad-json-000')}"`,
        headers: { 'content-type': 'application/json' },
      }),
    )
    for (const kind of ['html', 'cut-before', 'cut-after'] as const) {
      simulator.faults.add({ match: { path: '/api/v4/personal_access_tokens/self' }, effect: { kind } })
      await connect(kind, { token: make(`a token that met ${kind}`) })
    }
    const echo = make('a token that GitLab echoes')
    simulator.faults.add({
      match: { path: '/api/v4/personal_access_tokens/self' },
      effect: { kind: 'status', status: 400, body: JSON.stringify({ message: `bad token ${echo}` }) },
    })
    simulator.faults.add({
      match: { path: '/oauth/token/info' },
      effect: { kind: 'status', status: 418, body: JSON.stringify({ message: `bad token ${echo}` }) },
    })
    await connect('echo', { token: echo })
    keep(
      'bad key',
      await broker.get('/v1/connections', {
        key: plant('a wrong key', 'FAKE-wrong-access-key-0000000000000000'),
      }),
    )

    // OAuth: denied, refused, connected, refreshed, refused again.
    const denied = await authorize(stage, { deny: true })
    keep('denied', (await callBack(broker, denied.callback, denied.cookie)).answer)
    for (const kind of ['invalid-grant', 'html', 'cut-after'] as const) {
      const started = await authorize(stage)
      plant(`a code that met ${kind}`, started.callback.searchParams.get('code')!)
      plant(`a link that met ${kind}`, started.session)
      simulator.faults.add({ match: { path: '/oauth/token' }, effect: { kind } })
      keep(kind, (await callBack(broker, started.callback, started.cookie)).answer)
    }
    const session = plant('a connect link', await createSession(broker))
    const started = await startOAuth(broker, session)
    const verifier = /oauth-verifier-simulator=([^;]+)/.exec(started.cookie)?.[1]
    plant('a PKCE verifier', verifier!)
    const callback = new URL(await approve(started.authorizeUrl, { username: 'tom' }))
    plant('an authorization code', callback.searchParams.get('code')!)
    plant('a state', callback.searchParams.get('state')!)
    const end = await callBack(broker, callback, started.cookie)
    t.equal(end.status, 'connected')
    keep('replay', (await callBack(broker, callback, started.cookie)).answer)
    for (const round of ['first', 'second', 'lost', 'refused']) {
      const { status, body } = await broker.get(`/v1/connections/${end.id}/credential`)
      if (status === 200) plant(`the ${round} OAuth token`, body.token)
      clock.advance(7_300)
      if (round === 'second')
        simulator.faults.add({ match: { path: '/oauth/token' }, effect: { kind: 'cut-after' } })
      if (round === 'lost')
        simulator.faults.add({ match: { path: '/oauth/token' }, effect: { kind: 'invalid-grant' } })
    }
    const pair = world.issueOAuthToken({
      username: 'maria',
      clientId: 'simulator-client',
      scopes: ['read_repository'],
    })
    plant('a pasted OAuth token', pair.accessToken)
    plant('a pasted refresh token', pair.refreshToken)
    const oauth = {
      organization: 'globex',
      base_url: simulator.url,
      access_token: pair.accessToken,
      refresh_token: pair.refreshToken,
    }
    keep('wrong app', await broker.post('/v1/connections/oauth-token', { ...oauth, oauth_app: 'nowhere' }))
    const saved = keep(
      'pasted',
      await broker.post('/v1/connections/oauth-token', { ...oauth, oauth_app: 'simulator' }),
    )
    t.equal(saved.status, 201)

    // Something unexpected, with a secret at hand.
    await broker.db
      .updateTable('connections')
      .set({ token_version: 7 })
      .where('id', '=', saved.body.id)
      .execute()
    const unexpected = keep('unexpected', await broker.get(`/v1/connections/${saved.body.id}/credential`))
    t.match(unexpected, { status: 500, body: { code: 'internal_error' } })
    await sql`alter table connections add constraint broken check (name <> 'broken')`.execute(broker.db)
    const broken = await connect('constraint', {
      token: make('a token that met a constraint'),
      name: 'broken',
    })
    t.equal(broken.body.code, 'internal_error')
  })

  t.test('the search finds a secret in each form', async (t) => {
    const text = `x${Buffer.from(`oauth2:${ADMIN_KEY}!`).toString('base64')}`
    t.ok(formsOf(ADMIN_KEY).some((form) => text.includes(form)))
    t.ok(formsOf(ADMIN_KEY).some((form) => `?k=${ADMIN_KEY}`.includes(form)))
  })

  const findIn = (what: string, text: string): string[] =>
    [...secrets].flatMap(([name, secret]) =>
      formsOf(secret).some((form) => text.includes(form)) ? [`${name} in ${what}`] : [],
    )

  t.test('not in a line of the log, at any level', async (t) => {
    const levels = new Set(broker.logLines.map((line) => JSON.parse(line).level))
    for (const level of ['info', 'warn', 'error']) t.ok(levels.has(level), `it logged at ${level}`)
    t.same(findIn('the log', broker.logLines.join('\n')), [])
  })

  t.test('not in an answer, unless it was asked for', async (t) => {
    t.ok(answers.length > 20)
    t.same(
      answers.flatMap(({ what, text }) => findIn(what, text)),
      [],
    )
  })

  t.test('not in the database', async (t) => {
    const dump = await dumpDatabase(broker.db as unknown as Kysely<never>)
    t.same(
      dump.flatMap(({ where, text }) => findIn(where, text)),
      [],
    )
    const sealed = dump.filter(({ text }) => /eyJ[\w-]+\.[\w-]*\.[\w-]+\.[\w-]+\.[\w-]+/.test(text))
    t.same(
      sealed.map(({ where }) => where).sort(),
      [
        'public.connections.access_token',
        'public.connections.refresh_token',
        'public.data_keys.wrapped_key',
        'public.oauth_apps.client_secret',
        'public.signing_keys.key_jwe',
      ],
      'ciphertext is where it belongs',
    )
  })
})
