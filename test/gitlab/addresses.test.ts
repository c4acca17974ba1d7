import t from 'tap'
import { classifyAddress, isAddressAllowed } from '../../src/gitlab/addresses.ts'
import {
  NEVER_IPV4,
  NEVER_IPV6,
  PRIVATE_IPV4,
  PRIVATE_IPV6,
  translationsOf,
} from '../support/hostile-addresses.ts'

const bare = (host: string): string => host.replace(/^\[|\]$/g, '')
const PUBLIC = [
  '1.1.1.1',
  '8.8.8.8',
  '9.255.255.255',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '126.255.255.255',
  '128.0.0.0',
  '169.253.255.255',
  '169.255.0.0',
  '172.15.255.255',
  '172.32.0.0',
  '172.65.251.78',
  '192.0.1.0',
  '192.167.255.255',
  '192.169.0.0',
  '198.17.255.255',
  '198.20.0.0',
  '223.255.255.255',
  '::ffff:8.8.8.8',
  '2606:4700:90:0:f22e:fbec:5bed:a9b9',
  '2001:200::1',
  '2001:4860:4860::8888',
  '2003::1',
  '3ffe::1',
]

t.test('each address is of one class, its edges included', async (t) => {
  for (const address of PUBLIC) t.equal(classifyAddress(address), 'public', address)
  for (const address of [...PRIVATE_IPV4, ...PRIVATE_IPV6].map(bare)) {
    t.equal(classifyAddress(address), 'private', address)
  }
  for (const address of [...NEVER_IPV4, ...NEVER_IPV6].map(bare)) {
    t.equal(classifyAddress(address), 'never', address)
  }
  for (const address of ['100.100.100.199', '100.100.100.201', 'fd00:ec1::1', 'fd00:ec3::1'])
    t.equal(classifyAddress(address), 'private', address)
})

t.test('what wraps an IPv4 address is never more than what it wraps', async (t) => {
  for (const ip of NEVER_IPV4) {
    t.equal(classifyAddress(`::ffff:${ip}`), 'never', ip)
    for (const host of translationsOf(ip)) t.equal(classifyAddress(bare(host)), 'never', host)
  }
  for (const ip of PRIVATE_IPV4) {
    t.equal(classifyAddress(`::ffff:${ip}`), 'private', ip)
    for (const host of translationsOf(ip)) t.not(classifyAddress(bare(host)), 'public', host)
  }
  t.equal(classifyAddress('64:ff9b::8.8.8.8'), 'private', 'translated ones take the permission')
})

t.test('a zone changes nothing, and what is no address is none', async (t) => {
  t.equal(classifyAddress('fe80::1%eth0'), 'never')
  t.equal(classifyAddress('fd00:ec2::254%eth0'), 'never')
  t.equal(classifyAddress('::ffff:169.254.169.254%1'), 'never')
  t.equal(classifyAddress('::1%lo'), 'private')
  for (const text of ['', 'localhost', '127.1', '0x7f000001', '1.2.3.4.', '[::1]', '::1%'])
    t.equal(classifyAddress(text), 'never', text)
})

t.test('the permission of an instance opens what is private, and nothing else', async (t) => {
  t.same(
    ['8.8.8.8', '10.0.0.1', '169.254.169.254'].map((address) => [
      isAddressAllowed(address, false),
      isAddressAllowed(address, true),
    ]),
    [
      [true, true],
      [false, true],
      [false, false],
    ],
  )
})
