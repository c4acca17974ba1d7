import t from 'tap'
import { createFollowingClock } from '../../src/clock/following-clock.ts'

const DATABASE_TIME = Date.parse('2026-11-02T10:30:00Z')

/** A machine whose wall clock can be set, and a database with a clock of its own. */
const setUp = (mayGoBack = true) => {
  let passed = 5_000
  let wall = DATABASE_TIME - 5_000 - 300_000
  let database = DATABASE_TIME - 5_000
  const clock = createFollowingClock({ mayGoBack, wall: () => wall + passed, monotonic: () => passed })
  return {
    clock,
    pass(ms: number) {
      passed += ms
    },
    setWall(byMs: number) {
      wall += byMs
    },
    setDatabase(byMs: number) {
      database += byMs
    },
    databaseNow: () => database + passed,
    /** A question that travels for so long each way. */
    ask(thereMs: number, backMs: number) {
      const sentAt = passed
      passed += thereMs
      const time = database + passed
      passed += backMs
      clock.follow({ sentAt, receivedAt: passed, time })
    },
  }
}

t.test('a machine whose clock is five minutes behind shows the time of the database', async (t) => {
  const { clock, ask, databaseNow, pass } = setUp()
  t.equal(clock.now(), databaseNow() - 300_000, 'until it has asked, its own')
  ask(4, 0)
  t.equal(clock.now(), databaseNow())
  pass(3_600_000)
  t.equal(clock.now(), databaseNow())
  t.equal(clock.aheadMs(), -300_000)
})

t.test('a wall clock that is set changes nothing, and the difference tells of it', async (t) => {
  const { clock, ask, setWall, databaseNow } = setUp()
  ask(1, 0)
  setWall(300_000 - 3_600_000)
  t.equal(clock.now(), databaseNow())
  t.equal(clock.aheadMs(), -3_600_000)
})

t.test('a slow answer does not spoil what a quick one showed', async (t) => {
  const { clock, ask, databaseNow } = setUp()
  ask(2, 2)
  t.equal(clock.now(), databaseNow() - 2, 'off by one way at the most')
  ask(4_000, 4_000)
  t.equal(clock.now(), databaseNow() - 2)
  ask(1, 1)
  t.equal(clock.now(), databaseNow() - 1, 'a quicker one corrects it')
})

t.test('a standby with another clock that takes over is followed at once, forward and back', async (t) => {
  for (const step of [45_000, -45_000]) {
    const { clock, ask, setDatabase, databaseNow } = setUp()
    ask(1, 0)
    setDatabase(step)
    ask(1, 0)
    t.ok(Math.abs(clock.now() - databaseNow()) <= 1)
  }
})

t.test(
  'where the source is this very machine, a clock that is set back does not set this one back',
  async (t) => {
    const { clock, ask, setDatabase, databaseNow } = setUp(false)
    ask(1, 0)
    setDatabase(-3_600_000)
    ask(1, 0)
    t.equal(clock.now(), databaseNow() + 3_600_000)
    setDatabase(3_660_000)
    ask(1, 0)
    t.ok(Math.abs(clock.now() - databaseNow()) <= 1, 'and forward it follows')
  },
)
