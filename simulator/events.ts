import type { Clock } from './clock.ts'

export type TokenKind = 'oauth' | 'personal' | 'group' | 'project'

type WorldEventKind =
  | 'issued'
  | 'refreshed'
  | 'refresh_refused'
  | 'replay_of_spent_refresh_token'
  | 'rotated'
  | 'replay_of_rotated_access_token'
  | 'revoked'

export type WorldEvent = {
  at: number
  kind: WorldEventKind
  tokenKind: TokenKind
  /** Stays the same over a chain of refreshes or rotations. */
  grantId: string
  /** 1 for the first token of the chain. */
  generation: number
  username: string
  reason?: string
}

/** What one token of a chain shares with the others, and its place among them. */
type ChainLink = { grantId: string; generation: number; user: { username: string } }

export type EventLog = {
  all: WorldEvent[]
  record(kind: WorldEventKind, tokenKind: TokenKind, link: ChainLink, reason?: string): void
  newGrantId(): string
}

export const createEventLog = (clock: Clock): EventLog => {
  const all: WorldEvent[] = []
  let grants = 0
  return {
    all,
    record(kind, tokenKind, { grantId, generation, user }, reason) {
      const event: WorldEvent = {
        at: clock.now(),
        kind,
        tokenKind,
        grantId,
        generation,
        username: user.username,
      }
      all.push(reason === undefined ? event : { ...event, reason })
    },
    newGrantId: () => `grant-${++grants}`,
  }
}
