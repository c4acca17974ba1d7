import { setTimeout as sleep } from 'node:timers/promises'
import type { Principal } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import { type LeasedToken, leaseTokenOf } from '../leases/lease-token.ts'
import { type FindByUrlDeps, leaseTokenByUrl } from '../lookup/find-by-url.ts'
import { findTarget } from './target.ts'
import type { GitRequest } from './wire.ts'

export type GitOptions = {
  organization?: string | undefined
  minTtl?: number | undefined
  purpose?: string | undefined
}

const BASIC = /^basic\b/i
/** Git shows the token within a moment. */
const SHORTEST_SECONDS = 10

/**
 * Leases the token for the repository that Git asks about.
 * @throws {Problem} those of findTarget and leaseTokenByUrl; not_a_gitlab: something in front of GitLab asks
 */
export const getCredential = async (
  deps: FindByUrlDeps & { db: Database },
  principal: Principal,
  request: GitRequest,
  { organization, minTtl, purpose = 'git' }: GitOptions,
): Promise<LeasedToken> => {
  const { challenges, host } = request
  if (challenges.length > 0 && !challenges.some((challenge) => BASIC.test(challenge)))
    throw new Problem(
      'not_a_gitlab',
      `${host} does not ask for a password as GitLab does: a proxy in front of GitLab asks, and gets no token.`,
    )
  const target = await findTarget(deps.db, principal, request, organization)
  const lease = (seconds: number | undefined) => {
    const options = { minTtl: seconds, purpose, onConflict: 'respect' } as const
    return 'url' in target
      ? leaseTokenByUrl(deps, principal, { url: target.url, organization }, options)
      : leaseTokenOf(deps, target.connectionId, principal, options)
  }
  return minTtl === undefined ? leaseSoon(lease) : lease(minTtl)
}

/**
 * Near its end a token that others hold is neither replaced nor lent for long. Git needs it for a moment: so it gets the
 * token while that lives some seconds, and waits for the next one after that.
 */
const leaseSoon = async (
  lease: (seconds: number | undefined) => Promise<LeasedToken>,
): Promise<LeasedToken> => {
  try {
    return await lease(undefined)
  } catch (error) {
    if (!isInUse(error)) throw error
  }
  try {
    return await lease(SHORTEST_SECONDS)
  } catch (error) {
    const seconds = isInUse(error) ? error.extras.retryAfterSeconds : undefined
    if (seconds === undefined || seconds > SHORTEST_SECONDS + 1) throw error
    await sleep(seconds * 1000)
    return lease(undefined)
  }
}

const isInUse = (error: unknown): error is Problem =>
  error instanceof Problem && error.code === 'token_in_use'
