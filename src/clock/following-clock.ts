import type { Clock } from './clock.ts'

/** What another clock showed between two readings of our own monotonic clock; all in milliseconds. */
export type ClockSample = { sentAt: number; receivedAt: number; time: number }

export type FollowingClock = {
  /** The time of the clock that is followed; until the first sample, the time of this machine at the start. */
  now: Clock
  follow(sample: ClockSample): void
  /** How far the clock of this machine is ahead of the one that is followed, in milliseconds; negative = behind. */
  aheadMs(): number
}

type Options = {
  /** false: a sample never sets the clock back. For a source that is the clock of this very machine. */
  mayGoBack?: boolean
  wall?: Clock
  monotonic?: Clock
}

/**
 * A clock that shows the time of another one. Between samples the monotonic clock of this process carries it, so a
 * step of the wall clock changes nothing.
 *
 * A sample says that the distance to the other clock lies between two bounds, as far apart as the round trip took. A
 * distance within the bounds stays: a slow answer never spoils what a quick one showed. A distance outside moves to the
 * nearer bound: another server with another clock is followed at once.
 */
export const createFollowingClock = ({
  mayGoBack = true,
  wall = Date.now,
  monotonic = () => performance.now(),
}: Options = {}): FollowingClock => {
  let distance = wall() - monotonic()
  const now: Clock = () => Math.round(monotonic() + distance)

  return {
    now,
    follow({ sentAt, receivedAt, time }) {
      const least = time - receivedAt
      const most = time - sentAt
      const followed = Math.min(Math.max(distance, least), most)
      distance = mayGoBack ? followed : Math.max(distance, followed)
    },
    aheadMs: () => wall() - now(),
  }
}
