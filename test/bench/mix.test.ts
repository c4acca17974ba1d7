import t from 'tap'
import { createFleet, organizationName, repositoryOf } from '../../bench/fleet.ts'
import { keyOf, keysOf } from '../../bench/keys.ts'
import { createMix, type Lookup } from '../../bench/mix.ts'
import { createScramble } from '../../bench/random.ts'

const fleet = createFleet(10_080)
const ended = [{ url: 'http://127.0.0.1:1/ended-0/project', organization: 'org-0' }]
const draw = (count: number, seed: number): Lookup[] => {
  const next = createMix(fleet, ended, seed)
  return Array.from({ length: count }, next)
}

t.test('a seed gives the same lookups again, and another seed gives others', async (t) => {
  t.same(draw(500, 15), draw(500, 15))
  t.notSame(draw(500, 15), draw(500, 16))
})

t.test('the mix has the shares of keys and URLs that it promises', async (t) => {
  const lookups = draw(20_000, 15)
  const share = (isIn: (lookup: Lookup) => boolean) => lookups.filter(isIn).length / lookups.length
  const near = (found: number, wanted: number, what: string) =>
    t.ok(Math.abs(found - wanted) < 0.015, `${what}: ${found}, wanted ${wanted}`)
  near(
    share(({ urlKind }) => urlKind === 'refresh'),
    0.01,
    'refreshes',
  )
  near(
    share(({ urlKind }) => urlKind === 'ssh'),
    0.06,
    'SSH URLs',
  )
  near(
    share(({ urlKind }) => urlKind === 'under_path'),
    0.06,
    'URLs of a GitLab under a path',
  )
  near(
    share(({ keyKind }) => keyKind === 'one'),
    0.41,
    'keys of one organization',
  )
  near(
    share(({ keyKind }) => keyKind === 'connections'),
    0.07,
    'keys limited to connections',
  )
  near(
    share(({ keyKind }) => keyKind === 'prefixes'),
    0.07,
    'keys limited to URL prefixes',
  )
})

t.test('a lookup names its organization where its key is for more than one, and nowhere else', async (t) => {
  const organizationsOf = new Map(keysOf(fleet).map(({ key, organizations }) => [key, organizations]))
  for (const { key, path, organization } of draw(5_000, 15)) {
    const organizations = organizationsOf.get(key)!
    const named = new URL(path, 'http://localhost').searchParams.get('organization')
    const isForMore = organizations[0] === '*' || organizations.length > 1
    if (named !== (isForMore ? organizationName(organization) : null))
      t.fail(`${path} with a key for ${organizations}`)
  }
})

t.test('each connection is in an organization, and covers its repositories', async (t) => {
  let seen = 0
  for (let organization = 0; organization < fleet.organizations; organization += 1) {
    const { from, to } = fleet.connectionsOf(organization)
    t.ok(to > from, `organization ${organization} has connections`)
    seen += to - from
  }
  t.equal(seen, fleet.connections)
  const { group } = fleet.placeOf(1)
  t.match(repositoryOf(fleet, 1, 0).path, new RegExp(`^${group}/`))
  t.match(keyOf(fleet, 'several', 3), /several/)
})

t.test('a scramble gives each number once', async (t) => {
  for (const count of [1, 2, 3, 10, 1_000, 10_080]) {
    const scramble = createScramble(count)
    t.equal(new Set(Array.from({ length: count }, (_, number) => scramble(number))).size, count)
  }
})
