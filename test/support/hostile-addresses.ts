/** Addresses that no GitLab may have, in every spelling that a URL takes. */

const bytesOf = (ip: string): number[] => ip.split('.').map(Number)
const hex = (byte: number): string => byte.toString(16).padStart(2, '0')
const pairs = (bytes: number[]): string => {
  const [a = 0, b = 0, c = 0, d = 0] = bytes
  return `${hex(a)}${hex(b)}:${hex(c)}${hex(d)}`
}
const FULL_WIDTH_ZERO = 0xff10
const fullWidth = (digits: string): string =>
  digits.replaceAll(/\d/g, (digit) => String.fromCharCode(FULL_WIDTH_ZERO + Number(digit)))

/** Spellings of the IPv4 address itself, mapped into IPv6 among them. */
export const spellingsOf = (ip: string): string[] => {
  const bytes = bytesOf(ip)
  const [a = 0, b = 0, c = 0, d = 0] = bytes
  const number = ((a * 256 + b) * 256 + c) * 256 + d
  return [
    ip,
    `${ip}.`,
    String(number),
    `0x${number.toString(16)}`,
    `0X${number.toString(16).toUpperCase()}`,
    `0${number.toString(8)}`,
    bytes.map((byte) => `0${byte.toString(8)}`).join('.'),
    bytes.map((byte) => `0x${byte.toString(16)}`).join('.'),
    `${a}.${b}.${c * 256 + d}`,
    `${a}.${(b * 256 + c) * 256 + d}`,
    `0x${hex(a)}.0${b.toString(8)}.${c}.${d}`,
    fullWidth(ip),
    ip.replaceAll('.', '\u3002'),
    `[::ffff:${ip}]`,
    `[::FFFF:${pairs(bytes).toUpperCase()}]`,
    `[0:0:0:0:0:ffff:${pairs(bytes)}]`,
    `[0000:0000:0000:0000:0000:ffff:${ip}]`,
  ]
}

/** IPv6 addresses that something on the way turns into the IPv4 address. */
export const translationsOf = (ip: string): string[] => {
  const bytes = bytesOf(ip)
  const inverted = bytes.map((byte) => byte ^ 0xff)
  return [
    `[64:ff9b::${ip}]`,
    `[64:FF9B::${pairs(bytes).toUpperCase()}]`,
    `[64:ff9b:1::${ip}]`,
    `[64:ff9b:1:${pairs(bytes).slice(0, 4)}:${hex(0)}${pairs(bytes).slice(5, 7)}:${pairs(bytes).slice(7)}00::]`,
    `[::${ip}]`,
    `[::ffff:0:${ip}]`,
    `[2002:${pairs(bytes)}::]`,
    `[2002:${pairs(bytes)}::1]`,
    `[2001:0:4136:e378:8000:63bf:${pairs(inverted)}]`,
    `[fe80::5efe:${ip}]`,
    `[2a00:1450::5efe:${ip}]`,
    `[2a00:1450::200:5efe:${ip}]`,
    `[fd12:3456::5efe:${ip}]`,
  ]
}

export const NEVER_IPV4 = [
  '0.0.0.0',
  '0.1.2.3',
  '100.100.100.200',
  '168.63.129.16',
  '169.254.0.1',
  '169.254.169.123',
  '169.254.169.254',
  '169.254.170.2',
  '169.254.42.42',
  '192.0.0.192',
  '192.0.2.1',
  '192.88.99.1',
  '198.18.0.1',
  '198.51.100.7',
  '203.0.113.9',
  '224.0.0.1',
  '239.255.255.250',
  '240.0.0.1',
  '255.255.255.255',
]

export const NEVER_IPV6 = [
  '[::]',
  '[0:0:0:0:0:0:0:0]',
  '[::2]',
  '[100::1]',
  '[100:0:0:1::1]',
  '[2001:2::1]',
  '[2001:10::1]',
  '[2001:20::1]',
  '[2001:db8::1]',
  '[2001:DB8:FFFF::1]',
  '[3fff::1]',
  '[4000::1]',
  '[5f00::1]',
  '[fd00:42::42]',
  '[fd00:c1::a9fe:a9fe]',
  '[fd00:ec2::254]',
  '[FD00:0EC2:0:0:0:0:0:254]',
  '[fd00:ec2::23]',
  '[fd20:ce::254]',
  '[fe80::1]',
  '[fe80::a9fe:a9fe]',
  '[febf:ffff::1]',
  '[fec0::1]',
  '[ff01::1]',
  '[ff02::1]',
  '[FF05::1:3]',
]

export const PRIVATE_IPV4 = [
  '10.0.0.1',
  '10.255.255.254',
  '100.64.0.1',
  '100.127.255.254',
  '127.0.0.1',
  '127.8.8.8',
  '172.16.0.1',
  '172.31.255.254',
  '192.168.0.1',
]
export const PRIVATE_IPV6 = ['[::1]', '[0:0:0:0:0:0:0:1]', '[fc00::1]', '[fd12:3456::1]', '[FDFF::1]']

const unique = (hosts: string[]): string[] => [...new Set(hosts)]

/** Hosts that no permission opens. */
export const NEVER = unique([
  ...NEVER_IPV6,
  ...NEVER_IPV4.flatMap((ip) => [...spellingsOf(ip), ...translationsOf(ip)]),
])
/** Hosts that take the permission of an instance. */
export const PRIVATE = unique([
  ...PRIVATE_IPV6,
  'localhost',
  'LOCALHOST',
  ...PRIVATE_IPV4.flatMap((ip) => [...spellingsOf(ip), ...translationsOf(ip)]),
])
