import { createServer as createPlainServer } from 'node:http'
import { createServer, type ServerOptions } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import t, { type Test } from 'tap'
import { createHttpClient } from '../../src/gitlab/http-client.ts'
import { refusalOf } from '../../src/gitlab/refusal.ts'
import { makeCertificate, makeChain } from '../support/certificate.ts'

const listen = async (t: Test, server: Server): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

/** Asks a TLS server for something. @returns the status, or what is wrong. */
const ask = async (
  t: Test,
  options: ServerOptions,
  { ca = null, host = '127.0.0.1' }: { ca?: string | null; host?: string } = {},
) => {
  const seen: string[] = []
  const port = await listen(
    t,
    createServer(options, (request, response) => {
      seen.push(request.headers.authorization ?? 'nothing')
      response.end('{}')
    }),
  )
  return askAt(t, `https://${host}:${port}`, ca, seen)
}

const askAt = async (t: Test, baseUrl: string, ca: string | null, seen: string[] = []) => {
  const client = createHttpClient(
    { baseUrl, allowPrivateNetwork: true, caCertificate: ca },
    { clock: Date.now },
  )
  t.teardown(() => client.close())
  const result = await client.send({ path: '/', token: 'glpat-FAKE-tls' })
  if (result.kind === 'answer') return { status: result.status, seen }
  t.same(seen, [], 'no token went there')
  t.equal(result.mayHaveActed, false)
  return { fault: result.tlsFault, detail: refusalOf(result, baseUrl)?.detail ?? '', seen }
}

t.test('a private authority', async (t) => {
  const { root, intermediate, leaf } = makeChain()
  const alone = { key: leaf.key, cert: leaf.certificate }
  const whole = { key: leaf.key, cert: leaf.certificate + intermediate.certificate }

  for (const [what, ca] of [
    ['its root', root.certificate],
    ['its intermediate', intermediate.certificate],
    ['the certificate of the server', leaf.certificate],
    ['all of them', leaf.certificate + intermediate.certificate + root.certificate],
    ['the intermediate behind another authority', makeCertificate().certificate + intermediate.certificate],
  ] as const)
    t.test(`is trusted by ${what}`, async (t) => {
      t.equal((await ask(t, whole, { ca })).status, 200)
    })

  t.test(
    'is trusted by its intermediate or the server where the server leaves the intermediate out',
    async (t) => {
      t.equal((await ask(t, alone, { ca: intermediate.certificate })).status, 200)
      t.equal((await ask(t, alone, { ca: leaf.certificate })).status, 200)
    },
  )

  t.test('does not make other names right', async (t) => {
    for (const ca of [root, intermediate, leaf]) {
      const answer = await ask(t, whole, { ca: ca.certificate, host: 'localhost' })
      t.equal(answer.fault, 'wrong_host_name')
    }
  })

  t.test('does not make an authority of a server whose certificate is given', async (t) => {
    const forged = makeCertificate({ name: 'FAKE forged', signedBy: leaf })
    const answer = await ask(
      t,
      { key: forged.key, cert: forged.certificate + leaf.certificate },
      { ca: leaf.certificate },
    )
    t.equal(answer.status, undefined)
    t.equal(answer.fault, 'certificate_invalid')
  })

  t.test('gets a name for what is wrong', async (t) => {
    const expired = makeCertificate({ signedBy: intermediate, validFrom: -9, validFor: -2 })
    const early = makeCertificate({ signedBy: intermediate, validFrom: 3, validFor: 9 })
    const behind = intermediate.certificate
    const ca = root.certificate
    const rootToo = { key: leaf.key, cert: whole.cert + root.certificate }
    const plain = makeCertificate({ isAuthority: false })
    const cases: [string, Promise<{ fault?: string | undefined; detail?: string }>, string, RegExp][] = [
      ['no authority', ask(t, whole), 'unknown_authority', /authority that is not known/],
      ['no authority, root sent', ask(t, rootToo), 'unknown_authority', /authority that is not known/],
      ['no intermediate', ask(t, alone, { ca }), 'intermediate_missing', /without the intermediate/],
      ['self-signed', ask(t, { key: plain.key, cert: plain.certificate }), 'self_signed', /by itself/],
      [
        'expired',
        ask(t, { key: expired.key, cert: expired.certificate + behind }, { ca }),
        'certificate_expired',
        /has expired/,
      ],
      [
        'too early',
        ask(t, { key: early.key, cert: early.certificate + behind }, { ca }),
        'certificate_not_yet_valid',
        /not valid yet/,
      ],
      ['another name', ask(t, whole, { ca, host: 'localhost' }), 'wrong_host_name', /another host name/],
      [
        'old TLS',
        ask(t, { ...whole, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' }, { ca }),
        'tls_too_old',
        /TLS 1\.2/,
      ],
      [
        'client certificate',
        ask(t, { ...whole, requestCert: true, rejectUnauthorized: true, ca }, { ca }),
        'client_certificate_required',
        /client certificate/,
      ],
      [
        'plain http',
        listen(
          t,
          createPlainServer((_request, response) => response.end()),
        ).then((port) => askAt(t, `https://127.0.0.1:${port}`, null)),
        'no_tls',
        /does not speak TLS/,
      ],
    ]
    for (const [what, asked, fault, detail] of cases) t.match(await asked, { fault, detail }, what)
  })
})

t.test('a server that leaves out one of several intermediates, or all of them, is told so', async (t) => {
  const company = 'FAKE company'
  const root = makeCertificate({ name: 'FAKE root', company })
  const upper = makeCertificate({ name: 'FAKE upper', company, signedBy: root, isAuthority: true })
  const lower = makeCertificate({ name: 'FAKE lower', company, signedBy: upper, isAuthority: true })
  const leaf = makeCertificate({ name: 'FAKE server', signedBy: lower })
  const sends = (...more: { certificate: string }[]) => ({
    key: leaf.key,
    cert: [leaf, ...more].map(({ certificate }) => certificate).join(''),
  })
  const other = makeCertificate({ name: 'FAKE other', company: 'FAKE others' }).certificate
  const table: [what: string, options: ServerOptions, ca: string | null, fault: string | undefined][] = [
    ['all of them', sends(lower, upper), root.certificate, undefined],
    ['both are missing', sends(), root.certificate, 'intermediate_missing'],
    ['both are missing, nothing given', sends(), null, 'intermediate_missing'],
    ['both are missing, the upper one given', sends(), upper.certificate, 'intermediate_missing'],
    ['the upper one is missing', sends(lower), root.certificate, 'intermediate_missing'],
    ['the lower one is missing', sends(upper), root.certificate, 'intermediate_missing'],
    ['the upper one is given', sends(lower), upper.certificate, undefined],
    ['the authority of somebody else is given', sends(lower, upper), other, 'unknown_authority'],
    ['nothing is given', sends(lower, upper), null, 'unknown_authority'],
  ]
  for (const [what, options, ca, fault] of table) {
    const answer = await ask(t, options, { ca })
    t.equal(answer.fault, fault, what)
    t.equal(answer.status, fault === undefined ? 200 : undefined, what)
  }
})
