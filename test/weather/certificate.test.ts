import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { setStage } from '../support/broker.ts'
import { makeCertificate } from '../support/certificate.ts'

const DAY_MS = 86_400_000

t.test('the conditions tell when the certificate that was given ends, and warn before', async (t) => {
  const { broker, clock } = await setStage(t)
  // The clock of the stage is not that of the machine.
  const fromNow = Math.ceil((clock() - Date.now()) / DAY_MS)
  const { certificate } = makeCertificate({ validFrom: fromNow - 2, validFor: fromNow + 40 })
  const end = new Date(new X509Certificate(certificate).validTo)
  const { body: instance } = await broker.post('/v1/instances', {
    name: 'inner',
    base_url: 'https://gitlab.inner.example',
    ca_certificate: certificate,
  })
  const conditions = async () => (await broker.get(`/v1/instances/${instance.id}/conditions`)).body
  t.match(await conditions(), {
    ca_certificate_expires_at: end.toISOString(),
    ca_certificate_state: 'valid',
  })
  clock.advance((end.getTime() - clock() - 20 * DAY_MS) / 1000)
  t.match(await conditions(), { ca_certificate_state: 'ending', state: 'clear' })
  clock.advance(21 * 86_400)
  t.match(await conditions(), { ca_certificate_state: 'expired' })
})
