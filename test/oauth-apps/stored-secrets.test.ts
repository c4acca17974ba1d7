import t from 'tap'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { connectByOAuth, MASTER_KEY, type Stage, setStage } from '../support/broker.ts'
import { HALF_LIFE, lookUp, rowOf } from '../support/lifecycle.ts'

const SECRET = 'gloas-FAKE-simulator-client-secret'

const vaultOf = async ({ broker, clock }: Stage) =>
  createVault(await openKeyRing(broker.db, [MASTER_KEY], clock))

/** Stores a client secret as an earlier version did: whatever came. */
const storeSecret = async (stage: Stage, secret: string) => {
  const { db } = stage.broker
  const app = await db.selectFrom('oauth_apps').selectAll().executeTakeFirstOrThrow()
  const version = app.version + 1
  const binding = { ownerId: app.id, version, use: 'client_secret' } as const
  const client_secret = await (await vaultOf(stage)).seal(secret, binding)
  await db.updateTable('oauth_apps').set({ client_secret, version }).where('id', '=', app.id).execute()
}

const isQuiet = ({ broker }: Stage, secret: string) =>
  !broker.logLines.some(
    (line) => line.includes(SECRET) || (secret.trim().length > 3 && line.includes(secret)),
  )

t.test(
  'a stored client secret that nothing can send ends nothing, and living tokens are served',
  async (t) => {
    const stage = await setStage(t)
    const { broker, clock, simulator } = stage
    const id = await connectByOAuth(stage)
    clock.advance(HALF_LIFE)
    for (const secret of [
      '',
      '\n',
      'FAKE two\nlines',
      'FAKE–dash',
      'FAKE\u0000',
      `${SECRET}\n${SECRET}`,
      'FAKE\u2028x',
    ]) {
      await storeSecret(stage, secret)
      const what = encodeURIComponent(secret)
      clock.advance(1)
      await broker.db.updateTable('connections').set({ retry_after: null }).execute()
      t.equal((await lookUp(stage, id)).status, 200, `${what}: the token lives`)
      const refresh = await broker.post(`/v1/connections/${id}/refresh?on_conflict=preempt`)
      t.match(refresh, { status: 503, body: { code: 'oauth_app_rejected' } }, what)
      t.ok(Number(refresh.headers.get('retry-after')) >= 1, what)
      const session = await broker.post('/v1/connect-sessions', { organization: 'acme' })
      const token = new URL(session.body.url).searchParams.get('session')
      await broker.get(`/oauth/simulator/start?session=${token}`, { key: null })
      t.equal((await broker.get('/healthz', { key: null })).status, 200, what)
      t.match(await rowOf(stage, id), { status: 'active' }, what)
      t.ok(isQuiet(stage, secret), what)
    }
    const { body } = await broker.get('/v1/oauth-apps')
    const repaired = await broker.request('PATCH', `/v1/oauth-apps/${body.items[0].id}`, {
      body: { client_secret: ` "${SECRET}"\r\n` },
    })
    t.equal(repaired.status, 200, repaired.text)
    clock.advance(3_600)
    t.equal((await lookUp(stage, id)).body.token_version, 2, 'a secret that was entered anew refreshes')
    t.equal(simulator.world.tokenState((await lookUp(stage, id)).body.token), 'active')
  },
)

t.test('a stored secret with blanks around it works as it is', async (t) => {
  const stage = await setStage(t)
  const id = await connectByOAuth(stage)
  let version = 1
  for (const secret of [`${SECRET}\n`, `\ufeff${SECRET}`, ` ${SECRET}\r\n`, `${SECRET}\u200b`]) {
    await storeSecret(stage, secret)
    stage.clock.advance(7_300)
    version += 1
    t.match(
      await lookUp(stage, id),
      { status: 200, body: { token_version: version } },
      JSON.stringify(secret),
    )
  }
})

t.test('a stored token that no header can carry is told from one that GitLab did not answer', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const made = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: ['read_api', 'read_repository'],
  })
  const body = { organization: 'acme', base_url: simulator.url, token: made.token }
  const { id } = (await broker.post('/v1/connections/personal-access-token', body)).body
  const oauth = await connectByOAuth(stage)
  const vault = await vaultOf(stage)
  for (const token of [`${made.token}\n`, 'FAKE two words', 'FAKE–dash', 'FAKE\u0000x', '']) {
    const what = JSON.stringify(token)
    for (const connection of [id, oauth]) {
      const { token_version: version } = await rowOf(stage, connection)
      const access_token = await vault.seal(token, { ownerId: connection, version, use: 'access' })
      await broker.db
        .updateTable('connections')
        .set({ access_token, status: 'active', status_reason: null, status_detail: null })
        .where('id', '=', connection)
        .execute()
    }
    clock.advance(61)
    const verdict = await broker.post(`/v1/connections/${id}/verify`)
    t.match(verdict, { status: 200, body: { works: false, reason: 'token_unknown' } }, what)
    t.match(verdict.body.detail, /characters that no token has/, what)
    t.match(await broker.post(`/v1/connections/${id}/rotate`, {}), { status: /^4/ }, what)
    t.equal((await broker.post(`/v1/connections/${oauth}/verify`)).body.works, false, what)
    t.equal((await broker.post(`/v1/connections/${oauth}/refresh`)).status, 200, `${what}: and is renewed`)
    t.equal((await broker.get('/v1/connections')).status, 200, what)
  }
  t.notOk(broker.logLines.some((line) => line.includes(made.token)))
})
