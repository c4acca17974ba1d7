import {
  missingScopesProblem,
  REQUIRED_SCOPES,
  toProblem,
  type VerifyDeps,
  verifyToken,
} from '../connections/verify-token.ts'
import { Problem } from '../errors/problem.ts'
import type { TokenFacts } from '../gitlab/inspect-token.ts'
import { checkReach } from '../gitlab/reach.ts'
import { hasScope, missingScopes } from '../gitlab/scopes.ts'

export type Pasted = { baseUrl: string | undefined; token: string; group: string | undefined }

/** Which form a token was pasted into; 'any' takes all kinds. */
export type Place = 'oauth' | 'token' | 'any'

export type Finding =
  | { kind: 'refused'; problem: Problem }
  | { kind: 'usable'; facts: TokenFacts; group: string | undefined }

const refused = (problem: Problem): Finding => ({ kind: 'refused', problem })

/** Everything that connecting would refuse, asked beforehand. Stores nothing. */
export const inspectPasted = async (
  deps: VerifyDeps,
  { baseUrl, token, group }: Pasted,
  place: Place,
): Promise<Finding> => {
  try {
    const { instance, inspection } = await verifyToken(deps, baseUrl, token)
    if (!inspection.valid) return refused(toProblem(inspection.refusal))
    const { facts } = inspection
    const isOAuth = facts.kind === 'oauth_access_token'
    if (place !== 'any' && isOAuth !== (place === 'oauth')) return refused(new Problem('wrong_token_kind'))
    const missing = missingScopes(facts.scopes, REQUIRED_SCOPES)
    if (group && !hasScope(facts.scopes, 'read_api')) missing.push('read_api')
    if (missing.length > 0) return refused(missingScopesProblem(missing, 'to be used'))
    if (!group) return { kind: 'usable', facts, group: undefined }
    const reach = await checkReach(deps.instanceClients.for(instance), token, group)
    if (reach.reached) return { kind: 'usable', facts, group: reach.path }
    return refused(reach.refusal ? toProblem(reach.refusal) : new Problem('group_out_of_reach'))
  } catch (error) {
    if (error instanceof Problem) return refused(error)
    throw error
  }
}
