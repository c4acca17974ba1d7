import type { InstanceRow, TokenKind } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { isFineGrained } from '../gitlab/granular.ts'
import { inspectToken, type TokenFacts } from '../gitlab/inspect-token.ts'
import type { Refusal } from '../gitlab/refusal.ts'
import { mayRotateItself, missingScopes, missingScopesProblem } from '../gitlab/scopes.ts'
import { describeLooks, looksLike } from '../gitlab/token-kinds.ts'
import { requirePasted } from '../http/pasted-field.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { type Addressed, resolveAddress } from '../instances/resolve-instance.ts'
import type { Place } from '../places/place.ts'
import { type FoundPlaces, findAllPlaces, findPlaces, type NamedPlace, type Places } from './find-places.ts'
import { findGranularPlaces } from './granular-places.ts'
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
  /** What the token must reach to take the place of another; [] = as a new one. */
  covers?: readonly Place[]
  /** Checks what else the caller demands, such as the kind of token. @returns why not; undefined = accepted. */
  refuse?: (facts: TokenFacts) => Problem | undefined
}

export type CheckedToken = {
  /** Without what came along when it was pasted. */
  token: string
  instance: InstanceRow
  facts: TokenFacts
  /** What the token covers; undefined = GitLab does not tell, and nobody has named it. */
  places: Places | undefined
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
  {
    baseUrl,
    organizations,
    token: pasted,
    field = 'token',
    group: written,
    covers = [],
    refuse,
  }: TokenToCheck,
): Promise<TokenFinding> => {
  const { value: token, requireServer } = requirePasted(field, pasted)
  const addressed = await resolveAddress(db, baseUrl, clock)
  const { instance } = addressed
  requireServer(instance.base_url)
  const group = requireGroup(written, instance)
  const client = await clientOf({ db, instanceClients }, instance, organizations)
  const inspection = await inspectToken(client, token, new Date(clock()))
  if (!inspection.valid) {
    const problem =
      otherKind(inspection.refusal, token) ??
      (await problemAt(db, instance, inspection.refusal, organizations))
    return { addressed, accepted: false, problem, facts: undefined }
  }
  const { facts } = inspection
  const isGranular = isFineGrained(facts.scopes)
  const problem = refuse?.(facts) ?? (isGranular ? undefined : missingForScanning(facts))
  if (problem) return { addressed, accepted: false, problem, facts }
  // What an OAuth app may do is a matter of its registration.
  const find = (named: NamedPlace | undefined): Promise<FoundPlaces> =>
    isGranular && facts.kind !== 'oauth_access_token'
      ? findGranularPlaces({ client, token, facts }, named?.path)
      : findPlaces(client, token, facts, named)
  const found = await (group === undefined ? findAllPlaces(find, covers) : find({ path: group }))
  if ('refused' in found) return { addressed, accepted: false, facts, problem: found.refused }
  const { kind, found: places } = found
  return { addressed, accepted: true, token, instance, facts: ofKind(facts, kind), places }
}

/** Where the scopes do not let GitLab say whose a token is, what it reaches has told its kind. */
const ofKind = (facts: TokenFacts, kind: TokenKind): TokenFacts => ({
  ...facts,
  kind,
  accountKind: kind === 'group_access_token' || kind === 'project_access_token' ? 'bot' : facts.accountKind,
})

/** GitLab does not know it, and its prefix says what it may be instead. */
const otherKind = (refusal: Refusal, token: string): Problem | undefined => {
  const kind = refusal.code === 'token_unknown' ? looksLike(token) : undefined
  return kind && new Problem('wrong_token_kind', describeLooks(kind), { members: { looks_like: kind } })
}

const missingForScanning = ({ scopes }: TokenFacts): Problem | undefined => {
  const missing = missingScopes(scopes, REQUIRED_SCOPES)
  return missing.length > 0 ? missingScopesProblem(missing, 'to clone a repository') : undefined
}

/** @throws {Problem} why the token may not be connected here */
export const requireAcceptable = async (deps: CheckDeps, token: TokenToCheck): Promise<CheckedToken> => {
  const finding = await checkToken(deps, token)
  if (!finding.accepted) throw finding.problem
  return finding
}

/** @throws {Problem} missing_scopes when a token may not rotate itself */
export const requireSelfRotation = ({
  scopes,
  rights,
}: {
  scopes: readonly string[]
  rights?: TokenFacts['rights']
}): void => {
  if (rights?.mayRotate === false || !mayRotateItself(scopes))
    throw missingScopesProblem(['self_rotate'], 'to be rotated automatically')
}
