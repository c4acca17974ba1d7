import { createPrivateKey, createPublicKey, createSign, generateKeyPairSync, randomBytes } from 'node:crypto'
import { isIP } from 'node:net'

/** DER (X.690): tag, length, content. */
const der = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}
const sequence = (...parts: Uint8Array[]) => der(0x30, ...parts)
const oid = (hex: string) => der(0x06, Buffer.from(hex, 'hex'))
const utcTime = (time: Date) => der(0x17, Buffer.from(time.toISOString().replace(/^..|[-:T]|\.\d+/g, '')))
const extension = (id: string, value: Buffer) => sequence(oid(id), der(0x04, value))
const attribute = (id: string, text: string) => der(0x31, sequence(oid(id), der(0x0c, Buffer.from(text))))
const nameOf = (name: string, company: string | undefined) =>
  sequence(...(company ? [attribute(ORGANIZATION, company)] : []), attribute(COMMON_NAME, name))

const ECDSA_WITH_SHA256 = '2a8648ce3d040302'
const COMMON_NAME = '550403'
const ORGANIZATION = '55040a'
const SUBJECT_ALT_NAME = '551d11'
const BASIC_CONSTRAINTS = '551d13'
const DAY_IN_MS = 86_400_000

export type Certified = { certificate: string; key: string; name: string; company?: string | undefined }

type Wanted = {
  name?: string
  /** O of the subject. */
  company?: string
  /** Who signs it; itself when left out. */
  signedBy?: Certified
  /** Whether it may sign others. */
  isAuthority?: boolean
  /** Names and IPv4 addresses that it is for. */
  hosts?: string[]
  /** In days from now. */
  validFrom?: number
  validFor?: number
}

const hostName = (host: string): Buffer =>
  isIP(host) ? der(0x87, Buffer.from(host.split('.').map(Number))) : der(0x82, Buffer.from(host))

/** A certificate (RFC 5280) with its key, both PEM: Node makes keys, but no certificates. For 127.0.0.1, self-signed. */
export const makeCertificate = ({
  name = 'FAKE test authority',
  company,
  signedBy,
  isAuthority = signedBy === undefined,
  hosts = ['127.0.0.1'],
  validFrom = -1,
  validFor = 1,
}: Wanted = {}): Certified => {
  const { privateKey: key } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'der' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const algorithm = sequence(oid(ECDSA_WITH_SHA256))
  const at = (days: number) => utcTime(new Date(Date.now() + days * DAY_IN_MS))
  const toBeSigned = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([1]), randomBytes(8)),
    algorithm,
    nameOf(signedBy?.name ?? name, signedBy ? signedBy.company : company),
    sequence(at(validFrom), at(validFor)),
    nameOf(name, company),
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
    der(
      0xa3,
      sequence(
        extension(BASIC_CONSTRAINTS, isAuthority ? sequence(der(0x01, Buffer.from([0xff]))) : sequence()),
        extension(SUBJECT_ALT_NAME, sequence(...hosts.map(hostName))),
      ),
    ),
  )
  const signature = createSign('sha256')
    .update(toBeSigned)
    .sign(createPrivateKey(signedBy?.key ?? key))
  const whole = sequence(toBeSigned, algorithm, der(0x03, Buffer.from([0]), signature))
  const lines = whole
    .toString('base64')
    .match(/.{1,64}/g)!
    .join('\n')
  return {
    certificate: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key,
    name,
    company,
  }
}

/** A root, an intermediate that it signed, and a server's certificate that the intermediate signed. */
export const makeChain = (server: Wanted = {}) => {
  const root = makeCertificate({ name: 'FAKE root' })
  const intermediate = makeCertificate({ name: 'FAKE intermediate', signedBy: root, isAuthority: true })
  return {
    root,
    intermediate,
    leaf: makeCertificate({ name: 'FAKE server', ...server, signedBy: intermediate }),
  }
}
