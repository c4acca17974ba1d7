import { BlockList, isIPv4, isIPv6 } from 'node:net'
import ipaddr from 'ipaddr.js'

/**
 * Pure: which IP addresses a GitLab may have. `private` takes the permission of the instance; `never` is no place for
 * a GitLab, whatever is permitted.
 */
export type AddressClass = 'public' | 'private' | 'never'

const rangesOf = (...ranges: string[]): BlockList => {
  const list = new BlockList()
  for (const range of ranges) {
    const [network = '', prefix] = range.split('/')
    list.addSubnet(network, Number(prefix), isIPv4(network) ? 'ipv4' : 'ipv6')
  }
  return list
}

/** IANA's special-purpose registries for IPv4 and IPv6, and where clouds keep their metadata services. */
const NEVER = rangesOf(
  '0.0.0.0/8', // this host: Linux connects to loopback
  '100.100.100.200/32', // metadata of Alibaba Cloud, inside the shared range
  '168.63.129.16/32', // WireServer of Azure, a public address
  '169.254.0.0/16', // link-local, with the metadata of nearly every cloud
  '192.0.0.0/24', // IETF protocols, with the metadata of Oracle Cloud Classic
  '192.0.2.0/24', // documentation
  '192.88.99.0/24', // relays of 6to4
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, with broadcast
  'fd00:42::/32', // metadata of Scaleway
  'fd00:c1::/32', // metadata of Oracle Cloud
  'fd00:ec2::/32', // metadata of AWS
  'fd20:ce::/32', // metadata of Google Cloud
  '2001::/23', // IETF protocols: Teredo, benchmarks, ORCHID
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4
  '3fff::/20', // documentation
)
const PRIVATE = rangesOf(
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '::1/128',
  'fc00::/7',
)
const GLOBAL_IPV6 = rangesOf('2000::/3')
const MAPPED = rangesOf('::ffff:0:0/96')
const NAT64 = rangesOf('64:ff9b::/96')

/** The last four bytes, which hold the IPv4 address in mapped (RFC 4291), NAT64 (RFC 6052) and ISATAP (RFC 5214) form. */
const embeddedIn = (bytes: number[]): string => bytes.slice(-4).join('.')
/** ISATAP's interface id: 0000:5efe or 0200:5efe, then the IPv4 address. */
const isIsatap = (bytes: number[]): boolean =>
  (bytes[8]! & 0xfd) === 0 && bytes[9] === 0 && bytes[10] === 0x5e && bytes[11] === 0xfe

const classifyIPv4 = (address: string): AddressClass => {
  if (NEVER.check(address, 'ipv4')) return 'never'
  return PRIVATE.check(address, 'ipv4') ? 'private' : 'public'
}

/**
 * A form that wraps an IPv4 address is never more than what it wraps. The translated ones take the permission even for
 * a public address; compatible (::/96), 6to4 and Teredo, and local NAT64 prefixes are out altogether.
 */
export const classifyAddress = (address: string): AddressClass => {
  if (isIPv4(address)) return classifyIPv4(address)
  if (!isIPv6(address) || !ipaddr.IPv6.isValid(address)) return 'never'
  const bytes = ipaddr.IPv6.parse(address).toByteArray()
  // Without a zone, in one spelling.
  const plain = ipaddr.fromByteArray(bytes).toString()
  const isIn = (list: BlockList): boolean => list.check(plain, 'ipv6')

  if (isIn(MAPPED)) return classifyIPv4(embeddedIn(bytes))
  if (isIn(NAT64)) return classifyIPv4(embeddedIn(bytes)) === 'never' ? 'never' : 'private'
  if (isIn(NEVER)) return 'never'
  const isPrivate = isIn(PRIVATE)
  if (!isPrivate && !isIn(GLOBAL_IPV6)) return 'never'
  if (isIsatap(bytes)) return classifyIPv4(embeddedIn(bytes)) === 'never' ? 'never' : 'private'
  return isPrivate ? 'private' : 'public'
}

/** Whether a GitLab may have this address. */
export const isAddressAllowed = (address: string, allowPrivateNetwork: boolean): boolean => {
  const kind = classifyAddress(address)
  return kind === 'public' || (kind === 'private' && allowPrivateNetwork)
}
