import type { TokenFinding, TokenToCheck } from '../../connections/check-token.ts'
import { isFineGrained } from '../../gitlab/granular.ts'
import type { TokenFacts } from '../../gitlab/inspect-token.ts'
import { missingScopes } from '../../gitlab/scopes.ts'
import { adviceForProblem, RECOMMENDED_SCOPES, type ShownAdvice } from '../advice.ts'
import { type Avatar, avatarOf } from '../avatar.ts'
import type { Texts } from '../texts.en.ts'
import { endsSoon, type ShownTime, showTime } from '../times.ts'

import type { HostQuestion } from './named-server.ts'
import type { StrangerQuestion } from './question.ts'

/** Pure: what is said below a token field. */

/** Scopes with which a token can change something, or reach everything. */
const BROAD_SCOPES = ['api', 'write_repository', 'sudo', 'admin_mode', 'write_registry', 'create_runner']

type ShownScope = { name: string; broad: boolean }

export type TokenReport = (
  | { kind: 'waiting' }
  /** Nobody has said which GitLab issued the token. */
  | { kind: 'unnamed' }
  /** The person has to press a button that names the server. */
  | { kind: 'asks'; question: HostQuestion }
  | { kind: 'refused'; advice: ShownAdvice }
  | {
      kind: 'works'
      title: string
      endsSoon: boolean
      avatar: Avatar
      owner: string
      username: string | undefined
      tokenKind: string
      scopes: ShownScope[]
      hints: string[]
      expiry: ShownTime | undefined
      group: string | undefined
    }
) & {
  /** The server that was asked. */
  asked?: string
  /** Whether the account may take the place of another. */
  stranger?: StrangerQuestion | undefined
  /** The group or project that the address names, while none is entered. */
  offered?: string | undefined
}

const isTooBroad = (scope: string): boolean => BROAD_SCOPES.includes(scope)

const hintsFor = ({ scopes }: TokenFacts, texts: Texts): string[] => {
  const broad = scopes.filter(isTooBroad)
  const lacking = isFineGrained(scopes) ? [] : missingScopes(scopes, RECOMMENDED_SCOPES)
  return [
    ...(broad.length > 0 ? [texts.report.tooBroad(broad.join(texts.and))] : []),
    ...(lacking.length > 0 ? [texts.report.recommended(lacking.join(texts.and))] : []),
  ]
}

export const reportOn = (
  finding: TokenFinding,
  pasted: Pick<TokenToCheck, 'baseUrl' | 'group'>,
  now: Date,
  texts: Texts,
): TokenReport => {
  if (!finding.accepted) {
    const { baseUrl, group } = pasted
    return { kind: 'refused', advice: adviceForProblem(finding.problem, { baseUrl, group }, texts) }
  }
  const { facts, places } = finding
  const { user, kind, expiresAt } = facts
  const owner = user.name ?? user.username ?? texts.report.unnamedOwner(user.id)
  // An OAuth token lives two hours: its end is no reason to worry.
  const soon = kind !== 'oauth_access_token' && endsSoon(expiresAt, now)
  return {
    kind: 'works',
    title: soon ? texts.report.worksSoon : texts.report.works,
    endsSoon: soon,
    avatar: avatarOf(owner),
    owner,
    username: user.username ?? undefined,
    tokenKind: isFineGrained(facts.scopes) ? texts.kinds.fine_grained : texts.kinds[kind],
    scopes: facts.scopes.map((name) => ({ name, broad: isTooBroad(name) })),
    hints: hintsFor(facts, texts),
    expiry: expiresAt ? showTime(expiresAt, now, texts) : undefined,
    group: places?.map(({ path }) => path).join(texts.and) || undefined,
  }
}
