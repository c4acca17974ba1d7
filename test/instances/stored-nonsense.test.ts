import t from 'tap'
import { connectByOAuth, setStage } from '../support/broker.ts'
import { makeCertificate } from '../support/certificate.ts'

const { certificate, key } = makeCertificate()
const CLIENT_SECRET = 'gloas-FAKE-simulator-client-secret'

/** What a row may hold that was stored before it was checked, or changed by hand. */
const INSTANCES: Record<string, { ca_certificate?: string; base_url?: string }> = {
  'no PEM': { ca_certificate: 'FAKE no certificate' },
  'PEM with no certificate in it': {
    ca_certificate: '-----BEGIN CERTIFICATE-----\nRkFLRQ==\n-----END CERTIFICATE-----\n',
  },
  'a cut certificate': { ca_certificate: certificate.slice(0, -60) },
  'a private key': { ca_certificate: key },
  'a certificate and its key': { ca_certificate: certificate + key },
  'a certificate, then rubbish': {
    ca_certificate: `${certificate}-----BEGIN CERTIFICATE-----\nRkFLRQ==\n-----END CERTIFICATE-----`,
  },
  'a URL without a host': { base_url: 'https://' },
  'no URL': { base_url: 'no url' },
  'half a URL': { base_url: 'https://[' },
  'a URL that is not of the web': { base_url: 'ftp://gitlab.invalid' },
  'a port that is none': { base_url: 'https://gitlab.invalid:99999' },
  nothing: { base_url: '' },
}
const CLIENT_IDS = ['ü', 'two\nlines', '', '\u2028', 'x'.repeat(5_000)]

t.test(
  'nothing that is stored of an instance or an OAuth app ends the process or shows a secret',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator, instanceId, clock } = stage
    const id = await connectByOAuth(stage)

    const useAll = async (what: string) => {
      clock.advance(7_300)
      const { body } = await broker.post('/v1/connect-sessions', { organization: 'acme' })
      const session = new URL(body.url).searchParams.get('session')
      const answers = await Promise.all([
        broker.post(`/v1/connections/${id}/verify`),
        broker.post(`/v1/connections/${id}/refresh`),
        broker.get(`/v1/connections/${id}/credential`),
        broker.get(`/v1/connections/${id}`),
        broker.get(`/oauth/simulator/start?session=${session}`, { key: null }),
        broker.get(`/v1/instances/${instanceId}`),
        broker.get('/v1/instances'),
        broker.get('/v1/oauth-apps'),
      ])
      for (const { status, text } of answers) {
        t.ok(status >= 200, what)
        t.notMatch(text, /PRIVATE KEY/, what)
        t.notOk(text.includes(CLIENT_SECRET), what)
      }
      t.equal((await broker.get('/healthz', { key: null })).status, 200, what)
    }

    for (const [what, values] of Object.entries(INSTANCES)) {
      await broker.db
        .updateTable('instances')
        .set(({ eb }) => ({ base_url: 'https://127.0.0.1:1', ...values, version: eb('version', '+', 1) }))
        .where('id', '=', instanceId)
        .execute()
      await useAll(what)
    }
    await broker.db
      .updateTable('instances')
      .set(({ eb }) => ({ base_url: simulator.url, ca_certificate: null, version: eb('version', '+', 1) }))
      .where('id', '=', instanceId)
      .execute()
    for (const client_id of CLIENT_IDS) {
      // Not with another version: the sealed secret opens for the one that it has.
      await broker.db.updateTable('oauth_apps').set({ client_id }).where('slug', '=', 'simulator').execute()
      await broker.db
        .updateTable('instances')
        .set(({ eb }) => ({ version: eb('version', '+', 1) }))
        .where('id', '=', instanceId)
        .execute()
      await useAll(`client id ${client_id.slice(0, 9)}`)
    }
    t.ok(broker.logLines.some((line) => line.includes('oauth_app_rejected')))
    t.notOk(broker.logLines.some((line) => line.includes(CLIENT_SECRET) || line.includes('PRIVATE KEY')))
  },
)
