import type { InstanceRow } from '../db/tables.ts'
import { invalidField, Problem } from '../errors/problem.ts'
import type { GitLabHttpClient } from '../gitlab/http-client.ts'
import { inspectToken, type TokenFacts } from '../gitlab/inspect-token.ts'
import { checkReach } from '../gitlab/reach.ts'
import { type Refusal, refusalProblem } from '../gitlab/refusal.ts'
import { type PastedGroup, readGroup } from '../gitlab/urls/pasted-group.ts'
import { hasScope, missingScopes, missingScopesProblem } from '../gitlab/scopes.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { UNREGISTERED_ID } from '../instances/instance-clients.ts'
import { type Addressed, resolveAddress } from '../instances/resolve-instance.ts'
import { suggestInstance } from '../instances/suggest-instance.ts'
import type { Place } from '../places/place.ts'

/** The least that a scanner needs: to clone. */
const REQUIRED_SCOPES = ['read_repository']

export type CheckDeps = Pick<GitLabAccess, 'db' | 'clock' | 'instanceClients'>

export type TokenToCheck = {
  /** The address of the instance as somebody wrote it; undefined = gitlab.com */
  baseUrl: string | undefined
  /** Whose instances may be suggested where the address leads to none; undefined = those of all organizations. */
  organizations: string[] | undefined
  token: string
  /** The group or project that the token must reach, as somebody wrote it; undefined = any. */
  group?: string | undefined
  /** Checks what else the caller demands, such as the kind of token. @returns why not; undefined = accepted. */
  refuse?: (facts: TokenFacts) => Problem | undefined
}

export type CheckedToken = {
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

/** The address is wrong, or GitLab is not there now: another address may be meant. */
const OF_THE_ADDRESS: ReadonlySet<string> = new Set([
  'host_not_found',
  'instance_not_registered',
  'not_a_gitlab',
  'address_not_allowed',
  'tls_not_trusted',
  'gitlab_unavailable',
  'token_unknown',
])

/** The problem with "Did you mean …?", where a registered instance is near to an address that leads to none. */
const withSuggestion = async (
  { db }: CheckDeps,
  problem: Problem,
  { id, base_url }: InstanceRow,
  organizations: string[] | undefined,
): Promise<Problem> => {
  if (id !== UNREGISTERED_ID || !OF_THE_ADDRESS.has(problem.code)) return problem
  const meant = await suggestInstance(db, base_url, organizations)
  if (meant === undefined) return problem
  const { members } = problem.extras
  return new Problem(problem.code, `${problem.message} Did you mean ${meant}?`, {
    ...problem.extras,
    members: { ...members, did_you_mean: meant },
  })
}

/** @throws {Problem} instance_not_registered where the configuration refuses a server that nobody has registered */
const clientOf = async (
  deps: CheckDeps,
  instance: InstanceRow,
  organizations: string[] | undefined,
): Promise<GitLabHttpClient> => {
  try {
    return deps.instanceClients.for(instance)
  } catch (error) {
    throw error instanceof Problem ? await withSuggestion(deps, error, instance, organizations) : error
  }
}

/** What is registered was there once: DNS may fail. Where nobody has ever been, there is nothing to wait for. */
const problemOf = (refusal: Refusal, { id, base_url }: InstanceRow): Problem =>
  refusal.isHostUnknown && id === UNREGISTERED_ID
    ? new Problem(
        'host_not_found',
        `There is no server named ${new URL(base_url).hostname} (DNS knows no such host). Is it spelt right, and can this service see the network in which it is?`,
      )
    : refusalProblem(refusal)

const FAULTS: Record<Extract<PastedGroup, { fault: string }>['fault'], string> = {
  elsewhere: 'is on another GitLab than base_url',
  unreadable: 'is not the path or URL of a group or project, such as acme/platform',
}

/** @throws {Problem} invalid_request */
const requireGroup = (written: string | undefined, instance: InstanceRow): string | undefined => {
  if (written === undefined || written.trim() === '') return undefined
  const group = readGroup(written, instance)
  if ('fault' in group) throw invalidField('group', FAULTS[group.fault])
  return group.path
}

/**
 * Whether a token may be connected here, and as what. Asks GitLab what the token is, then checks in this order:
 * `refuse`, the scopes, and that the token reaches the group. Stores nothing.
 * @throws {Problem} invalid_request when baseUrl is not the URL of a server; instance_not_registered where the
 *   configuration refuses a server that nobody has registered: the token is not sent
 */
export const checkToken = async (
  { db, clock, instanceClients }: CheckDeps,
  { baseUrl, organizations, token, group: written, refuse }: TokenToCheck,
): Promise<TokenFinding> => {
  const addressed = await resolveAddress(db, baseUrl, clock)
  const { instance } = addressed
  const group = requireGroup(written, instance)
  const client = await clientOf({ db, clock, instanceClients }, instance, organizations)
  const inspection = await inspectToken(client, token, new Date(clock()))
  if (!inspection.valid) {
    const refused = problemOf(inspection.refusal, instance)
    const problem = await withSuggestion({ db, clock, instanceClients }, refused, instance, organizations)
    return { addressed, accepted: false, problem, facts: undefined }
  }
  const { facts } = inspection
  const problem = refuse?.(facts) ?? missingForScanning(facts, group)
  if (problem) return { addressed, accepted: false, problem, facts }
  if (group === undefined) return { addressed, accepted: true, instance, facts, place: undefined }
  const reach = await checkReach(client, token, group)
  if (reach.reached) {
    const { kind, id, path } = reach.place
    return { addressed, accepted: true, instance, facts, place: { kind, gitlabId: id, path } }
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
