import t from 'tap'
import { certificatesExpireAt, needsNoRoot, readCertificates } from '../../src/gitlab/certificates.ts'
import { makeCertificate, makeChain } from '../support/certificate.ts'

const { root, intermediate, leaf } = makeChain()
const pem = root.certificate
const body = pem.split('\n').slice(1, -2).join('\n')
const lines = (text: string, prefix: string) =>
  text
    .split('\n')
    .map((line) => prefix + line)
    .join('\n')

t.test('certificates are read as people paste them, and kept alone', (t) => {
  const s_client = `CONNECTED(00000003)\ndepth=1 CN = FAKE root\nverify error:num=19:self-signed certificate in certificate chain\n---\nCertificate chain\n 0 s:CN = FAKE root\n   i:CN = FAKE root\n${pem}---\nServer certificate\nsubject=CN = FAKE root\n---\nSSL handshake has read 1432 bytes\n`
  const x509 = `Certificate:\n    Data:\n        Serial Number:\n            5f:3a:00:11:22:33:44:55\n    Signature Algorithm: ecdsa-with-SHA256\n        pub:\n            04:5f:3a:00:11:22:33:44:55:66:77:88:99:aa:bb:\n${pem}`
  for (const [what, text, wanted] of [
    ['as it is', pem, pem],
    ['without a last newline', pem.trim(), pem],
    ['with CRLF', pem.replaceAll('\n', '\r\n'), pem],
    ['with CR alone at the ends', pem.replaceAll('\n', ' \r\n'), pem],
    ['with a byte order mark', `\uFEFF${pem}`, pem],
    ['indented as in YAML', lines(pem, '    '), pem],
    ['on one line with spaces', pem.replaceAll('\n', ' '), pem],
    ['as a JSON string', JSON.stringify(pem), pem],
    ['as a shell writes it', `'${pem}'`, pem],
    ['with escaped newlines', pem.replaceAll('\n', '\\n'), pem],
    ['with escaped CRLF', pem.replaceAll('\n', '\\r\\n'), pem],
    ['in lines of 76', pem.replace(body, body.replaceAll('\n', '').replace(/.{76}/g, '$&\n')), pem],
    ['with its old label', pem.replaceAll('CERTIFICATE', 'X509 CERTIFICATE'), pem],
    ['base64 of DER', body, pem],
    ['base64 of DER in one line', body.replaceAll('\n', ''), pem],
    ['with a comment', `# Company root\n${pem}`, pem],
    ['of openssl s_client', s_client, pem],
    ['of openssl x509 -text', x509, pem],
    ['of openssl pkcs12', `Bag Attributes\n    localKeyID: 54 69 6D 65\nsubject=CN = FAKE root\n${pem}`, pem],
    ['twice', pem + pem, pem],
    [
      'a chain',
      leaf.certificate + intermediate.certificate + pem,
      leaf.certificate + intermediate.certificate + pem,
    ],
  ] as const)
    t.match(readCertificates(text), { pem: wanted, fault: undefined }, what)
  t.end()
})

t.test('what is no certificate is named, and never repeated', (t) => {
  const { key } = root
  const secret = key.split('\n')[1] as string
  for (const [what, text, fault] of [
    ['nothing', ' ', /not a certificate/],
    ['rubbish', 'FAKE rubbish', /not a certificate/],
    ['a key', key, /private key/],
    ['a certificate and its key', pem + key, /private key/],
    ['a key of another kind', key.replaceAll('PRIVATE KEY', 'RSA PRIVATE KEY') + pem, /private key/],
    ['an encrypted key', key.replaceAll('PRIVATE KEY', 'ENCRYPTED PRIVATE KEY'), /private key/],
    ['a key without its lines', secret, /not a certificate/],
    ['a key as base64 of DER', key.split('\n').slice(1, -2).join('\n'), /cannot be read|not a certificate/],
    ['a key under a false name', key.replaceAll('PRIVATE KEY', 'CERTIFICATE'), /cannot be read/],
    ['a body of a key behind it', `${pem}${secret}`, /nothing else/],
    ['a token behind it', `${pem}\nglpat-FAKE0123456789abcdef`, /nothing else/],
    ['a request', pem.replaceAll('CERTIFICATE', 'CERTIFICATE REQUEST'), /request/],
    ['PKCS #7', pem.replaceAll('CERTIFICATE', 'PKCS7'), /PKCS #7/],
    ['an SSH key', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFAKE someone@host', /not a certificate/],
    ['a cut certificate', pem.slice(0, -60), /not a certificate/],
    ['a certificate with its middle gone', pem.replace(body.slice(70, 200), ''), /cannot be read/],
    ['one of two cannot be read', pem + pem.replace(body.slice(70, 200), ''), /cannot be read/],
    ['an end without a beginning', `${pem}-----END CERTIFICATE-----`, /nothing else/],
  ] as const) {
    const read = readCertificates(text)
    t.match(read, { fault, pem: undefined }, what)
    t.notOk(JSON.stringify(read).includes(secret), what)
  }
  t.end()
})

t.test('the first to end counts', (t) => {
  const soon = makeCertificate({ validFor: 2 })
  const later = makeCertificate({ validFor: 30 })
  const end = certificatesExpireAt(later.certificate + soon.certificate)!.getTime()
  t.ok(Math.abs(end - Date.now() - 2 * 86_400_000) < 60_000)
  t.equal(certificatesExpireAt(null), null)
  t.equal(certificatesExpireAt('FAKE nonsense'), null)
  t.end()
})

t.test('only what is no root is trusted without one', (t) => {
  t.equal(needsNoRoot(root.certificate), false)
  t.equal(needsNoRoot(root.certificate + intermediate.certificate), true)
  t.equal(needsNoRoot(leaf.certificate), true)
  t.end()
})
