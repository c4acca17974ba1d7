import { OUTAGE_MINIMUM_SECONDS, remainingSeconds } from '../leases/serving-decision.ts'
import type { CandidateRow } from './queries.ts'

/**
 * The rules by which a URL gets its connection, as explain tells them. Pure: no I/O, the time is passed in. The statement
 * that leases by URL (leasing/queries.ts) is the fast copy of the rules; a property test compares the two.
 */

export type RankedCandidate = CandidateRow & {
  /** Servable, and not refused by GitLab at the project. */
  eligible: boolean
  /** Whether the connection can be served for min_ttl without breaking a lease. */
  undisturbed: boolean
  won: boolean
  reason: string
}

export type Choice =
  | { kind: 'winner'; winner: RankedCandidate; ranked: RankedCandidate[] }
  | { kind: 'none'; ranked: RankedCandidate[] }

/** Whether a token can be had, maybe after a refresh. */
export const isServable = (
  row: Pick<CandidateRow, 'status' | 'refreshable' | 'token_expires_at'>,
  now: Date,
): boolean => row.status === 'active' && (row.refreshable || remainingSeconds(row.token_expires_at, now) > 0)

const canLiveUndisturbed = (row: CandidateRow, minTtl: number, now: Date): boolean => {
  const lives = remainingSeconds(row.token_expires_at, now) >= Math.max(minTtl, OUTAGE_MINIMUM_SECONDS)
  if (row.attempt_id === null && row.unanswered_since === null && lives) return true
  return row.refreshable && !row.leased
}

/** The longer the path, the closer it fits. */
const depth = ({ match_path }: CandidateRow): number => match_path.length

const byRank = (a: RankedCandidate, b: RankedCandidate): number =>
  Number(b.eligible) - Number(a.eligible) ||
  depth(b) - depth(a) ||
  Number(b.reaches) - Number(a.reaches) ||
  Number(b.undisturbed) - Number(a.undisturbed) ||
  b.rate_left - a.rate_left ||
  (b.last_verified_at?.getTime() ?? 0) - (a.last_verified_at?.getTime() ?? 0) ||
  (a.id < b.id ? -1 : 1)

const INELIGIBLE: Record<CandidateRow['status'], string> = {
  active: 'its token has reached its end',
  needs_reauthorization: 'a person has to reconnect it',
  revoked: 'its token was revoked',
  expired: 'its token has reached its end',
}

const whyOut = ({ status, refused_at, project }: CandidateRow, isDead: boolean): string =>
  refused_at === null || isDead
    ? INELIGIBLE[status]
    : `GitLab refused it for ${project} on ${refused_at.toISOString()}`

/**
 * Ranks the connections of an organization that cover a URL by: longest path, is known to reach the project, can live
 * min_ttl without disturbing a lease, what is left of the rate budget, latest verified, id. One that GitLab refused for
 * the project is out.
 */
export const chooseConnection = (rows: CandidateRow[], minTtl: number, now: Date): Choice => {
  const ranked: RankedCandidate[] = rows
    .map((row) => {
      const servable = isServable(row, now)
      const eligible = servable && row.refused_at === null
      const undisturbed = eligible && canLiveUndisturbed(row, minTtl, now)
      return { ...row, eligible, undisturbed, won: false, reason: eligible ? '' : whyOut(row, !servable) }
    })
    .sort(byRank)
  const [first] = ranked
  if (!first?.eligible) return { kind: 'none', ranked }
  for (const row of ranked) if (row.eligible) row.reason = whyLost(row, first)
  Object.assign(first, { won: true, reason: whyWon(first) })
  return { kind: 'winner', winner: first, ranked }
}

const whyWon = ({ reaches, project }: RankedCandidate): string =>
  reaches ? `best match: is known to reach ${project}` : 'best match'

const whyLost = (row: RankedCandidate, winner: RankedCandidate): string => {
  if (depth(row) < depth(winner)) return 'another covers a longer part of the path'
  if (row.reaches !== winner.reaches) return `another is known to reach ${row.project}`
  if (row.undisturbed !== winner.undisturbed) return 'serving it would disturb a lease'
  if (row.rate_left !== winner.rate_left) return 'another has more left of its rate limit at GitLab'
  return 'another was verified later'
}
