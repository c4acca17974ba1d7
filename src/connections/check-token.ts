import type { InstanceRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { inspectToken, type TokenFacts } from '../gitlab/inspect-token.ts'
import { checkReach } from '../gitlab/reach.ts'
import { refusalProblem } from '../gitlab/refusal.ts'
import { hasScope, missingScopes, missingScopesProblem } from '../gitlab/scopes.ts'
import { requirePasted } from '../http/pasted-field.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { type Addressed, resolveAddress } from '../instances/resolve-instance.ts'
import type { Place } from '../places/place.ts'
import { clientOf, problemAt, requireGroup } from './pasted-address.ts'

/** The least that a scanner needs: to clone. */
const REQUIRED_SCOPES = ['read_repository']

export type CheckDeps = Pick<GitLabAccess, 'db' | 'clock' | 'instanceClients'>

export type TokenToCheck = {
  /** The address of the instance as somebody wrote it; undefined = gitlab.com */
  baseUrl: string | undefined
  /** Whose instances may be suggested where the address leads to none; undefined = those of all organizations. */
  organizations: string[] | undefined
  /** As somebody pasted it. */
  token: string
  /** The field that it stands in, for what is wrong with the text; `token` when left out. */
  field?: string
  /** The group or project that the token must reach, as somebody wrote it; undefined = any. */
  group?: string | undefined
  /** Checks what else the caller demands, such as the kind of token. @returns why not; undefined = accepted. */
  refuse?: (facts: TokenFacts) => Problem | undefined
}

export type CheckedToken = {
  /** Without what came along when it was pasted. */
  token: string
  instance: InstanceRow
  facts: TokenFacts
  /** The group or project as GitLab writes it; undefined when none was named. */
  place: Place | undefined
}

export type TokenFinding = {
  /** The instance that was asked, and the group that its address names. */
  addressed: Addressed
} & (
  | ({ accepted: true } & CheckedToken)
  /** @property facts undefined when GitLab did not say what the token is. */
  | { accepted: false; problem: Problem; facts: TokenFacts | undefined }
)

/**
 * Whether a token may be connected here, and as what. Asks GitLab what the token is, then checks in this order:
 * `refuse`, the scopes, and that the token reaches the group. Stores nothing.
 * @throws {Problem} invalid_request when baseUrl is not the URL of a server, or the text holds no whole token;
 *   instance_not_registered where the configuration refuses a server that nobody has registered: the token is not sent
 */
export const checkToken = async (
  { db, clock, instanceClients }: CheckDeps,
  { baseUrl, organizations, token: pasted, field = 'token', group: written, refuse }: TokenToCheck,
): Promise<TokenFinding> => {
  const { value: token, requireServer } = requirePasted(field, pasted)
  const addressed = await resolveAddress(db, baseUrl, clock)
  const { instance } = addressed
  requireServer(instance.base_url)
  const group = requireGroup(written, instance)
  const client = await clientOf({ db, instanceClients }, instance, organizations)
  const inspection = await inspectToken(client, token, new Date(clock()))
  if (!inspection.valid) {
    const problem = await problemAt(db, instance, inspection.refusal, organizations)
    return { addressed, accepted: false, problem, facts: undefined }
  }
  const { facts } = inspection
  const problem = refuse?.(facts) ?? missingForScanning(facts, group)
  if (problem) return { addressed, accepted: false, problem, facts }
  if (group === undefined) return { addressed, accepted: true, token, instance, facts, place: undefined }
  const reach = await checkReach(client, token, group)
  if (reach.reached) {
    const { kind, id, path } = reach.place
    return { addressed, accepted: true, token, instance, facts, place: { kind, gitlabId: id, path } }
  }
  return {
    addressed,
    accepted: false,
    facts,
    problem: reach.refusal
      ? refusalProblem(reach.refusal)
      : new Problem(
          'group_out_of_reach',
          'The token does not reach this group: it is misspelt, or the owner of the token is not a member.',
        ),
  }
}

const missingForScanning = ({ scopes }: TokenFacts, group: string | undefined): Problem | undefined => {
  const missing = missingScopes(scopes, REQUIRED_SCOPES)
  const purposes = missing.length > 0 ? ['to clone a repository'] : []
  if (group !== undefined && !hasScope(scopes, 'read_api')) {
    missing.push('read_api')
    purposes.push('so that its reach can be checked')
  }
  return missing.length > 0 ? missingScopesProblem(missing, purposes.join(' and ')) : undefined
}

/** @throws {Problem} why the token may not be connected here */
export const requireAcceptable = async (deps: CheckDeps, token: TokenToCheck): Promise<CheckedToken> => {
  const finding = await checkToken(deps, token)
  if (!finding.accepted) throw finding.problem
  return finding
}

/** @throws {Problem} missing_scopes when a token may not rotate itself */
export const requireSelfRotation = ({ scopes }: { scopes: readonly string[] }): void => {
  if (!hasScope(scopes, 'self_rotate'))
    throw missingScopesProblem(['self_rotate'], 'to be rotated automatically')
}
