import type { Principal } from '../callers/principal.ts'
import { Problem } from '../errors/problem.ts'
import { askGit, askGitOnce } from '../gitlab/git-endpoint.ts'
import type { GitLabHttpClient } from '../gitlab/http-client.ts'
import { type ProjectWord, wordOf } from '../gitlab/project-reach.ts'
import type { Reading } from '../gitlab/repository-url.ts'
import { hasScope } from '../gitlab/scopes.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { findInstance } from '../instances/queries.ts'
import { holderOf } from '../leases/lease.ts'
import { type LeasedToken, leaseTokenOf } from '../leases/lease-token.ts'
import { releaseLeases } from '../leases/queries.ts'
import { type FindByUrlDeps, rankByUrl } from '../lookup/find-by-url.ts'
import { readUrl } from '../lookup/locate.ts'
import { isServable } from '../lookup/url-match.ts'
import { followRenames } from '../places/follow-renames.ts'
import { findLeaseEnds } from '../token-lifecycle/claims/queries.ts'
import { type ConnectionWithInstance, findConnection } from '../token-lifecycle/queries.ts'
import { isRefreshable } from '../token-lifecycle/refresh-decision.ts'
import { type ConnectionFacts, type Facts, type Reply, readGit, readReply } from './facts.ts'

export type GatherDeps = FindByUrlDeps & GitLabAccess
export type Asked = { url: string; organization: string | undefined; scanSeconds: number | undefined }

/** A thousand URLs of a group that was renamed lead to one look at its name. */
const BETWEEN_LOOKS_SECONDS = 60

/**
 * Finds out what the checks need. Borrows the token of the connection through a lease, as any scanner does, and gives
 * the lease back.
 * @throws {Problem} invalid_request (no URL), organization_required, not_found (organization)
 */
export const gatherFacts = async (deps: GatherDeps, principal: Principal, asked: Asked): Promise<Facts> => {
  const { db, clock } = deps
  const resource = readUrl(asked.url)
  const { url, organization } = asked
  const readings = (await deps.locator.locateNow(resource)).places.map(({ reading }) => reading)
  const choice = await rankByUrl(deps, principal, { url, organization }, { minTtl: undefined, learns: true })
  const facts: Facts = {
    host: resource.hostname,
    isKnownInstance: readings.length > 0,
    candidates: choice.ranked,
    connection: undefined,
    token: undefined,
    git: undefined,
    project: undefined,
    isPublic: undefined,
    scanSeconds: asked.scanSeconds,
    now: new Date(clock()),
  }
  // A preflight asks GitLab again also about one that was refused before: its owner may have been given access.
  const winner =
    choice.ranked.find(({ won }) => won) ?? choice.ranked.find((row) => isServable(row, facts.now))
  if (!winner) return facts
  const leased = await leaseFor(deps, principal, winner.id)
  const row = await findConnection(db, winner.id)
  if (!row) return facts
  const connection = await connectionFacts(deps, row, 'row' in leased ? leased.row.lease_id : undefined)
  if ('code' in leased) {
    const { code, message } = leased
    return { ...facts, connection, token: { kind: 'refused', code, detail: message } }
  }
  try {
    const token = { kind: 'leased', scopes: leased.row.scopes } as const
    const answers = await askGitLab(deps, row, readings, leased)
    const { word, ...found } = answers
    // What GitLab says counts, whether or not it can be remembered.
    if (word !== undefined)
      await deps.reach
        .remember(choice.ranked, winner.id, {
          word,
          token: leased.token,
          tokenVersion: leased.row.token_version,
          isOpenToAll: found.isPublic,
        })
        .catch(() => undefined)
    return { ...facts, connection, token, ...found }
  } finally {
    const lease = { ids: [leased.row.lease_id], holder: holderOf(principal), organizations: undefined }
    // The answer counts, whether or not the lease is given back early.
    await releaseLeases(db, { ...lease, now: new Date(clock()) }).catch(() => undefined)
  }
}

/** The token does not leave the service, so a caller that takes sealed answers only may have it used. */
const leaseFor = async (
  deps: GatherDeps,
  principal: Principal,
  connectionId: string,
): Promise<LeasedToken | Problem> => {
  const options = {
    minTtl: undefined,
    onConflict: 'respect',
    purpose: 'preflight',
    delivery: 'sealed',
  } as const
  try {
    return await leaseTokenOf(deps, connectionId, principal, options)
  } catch (error) {
    if (error instanceof Problem && error.code !== 'database_unavailable') return error
    throw error
  }
}

const connectionFacts = async (
  { db, clock }: GatherDeps,
  row: ConnectionWithInstance,
  ownLease: string | undefined,
): Promise<ConnectionFacts> => ({
  id: row.id,
  label: row.name ?? `${row.token_kind} of ${row.gitlab_username ?? row.organization}`,
  account: row.gitlab_username,
  refreshable: isRefreshable(row),
  tokenExpiresAt: row.token_expires_at,
  lifetimeSeconds:
    row.token_expires_at === null
      ? Number.POSITIVE_INFINITY
      : Math.round((row.token_expires_at.getTime() - row.token_issued_at.getTime()) / 1000),
  leasedUntil:
    (
      await findLeaseEnds(
        db,
        [{ connectionId: row.id, tokenVersion: row.token_version, except: ownLease }],
        new Date(clock()),
      )
    )[0] ?? null,
})
const askGitLab = async (
  { db, clock, instanceClients }: GatherDeps,
  row: Pick<ConnectionWithInstance, 'id' | 'token_kind' | 'organization' | 'instance_id' | 'base_url'>,
  readings: Reading[],
  { row: { scopes, token_version: tokenVersion }, token }: LeasedToken,
): Promise<Pick<Facts, 'git' | 'project' | 'isPublic'> & { word?: ProjectWord }> => {
  const instance = await findInstance(db, row.instance_id)
  if (!instance) return { git: undefined, project: undefined, isPublic: undefined }
  const client = instanceClients.for(instance)
  const path = readings.find(({ baseUrl }) => baseUrl === row.base_url)?.path ?? ''
  const answer = await askGit(client, path, token)
  const { reply, movedTo } = answer
  const git = readGit(answer, { baseUrl: client.baseUrl, scopes })
  // The connection goes on under the new path without anybody's doing.
  if (reply.kind === 'moved' || movedTo !== undefined)
    await followRenames(
      db,
      client,
      { row, token, tokenVersion, scopes, now: new Date(clock()) },
      BETWEEN_LOOKS_SECONDS,
    ).catch(() => undefined)
  const mayAskApi = scopes.includes('granular') || hasScope(scopes, 'read_api')
  const { project, visibility } = mayAskApi
    ? await askApi(client, movedTo ?? path, token)
    : { project: undefined, visibility: undefined }
  const word = movedTo === undefined ? await wordOf(client, { token, scopes, path }, reply) : 'nothing'
  if (visibility !== undefined) return { git, project, isPublic: visibility === 'public', word }
  if (reply.kind !== 'opens') return { git, project, isPublic: undefined, word }
  // Without credentials: no failed sign-in, which GitLab would count against this address.
  const anonymous = await askGitOnce(client, movedTo ?? path, undefined)
  const isPublic =
    anonymous.kind === 'opens' ? true : anonymous.kind === 'unavailable' ? undefined : (false as const)
  return { git, project, isPublic, word }
}

const askApi = async (
  client: GitLabHttpClient,
  path: string,
  token: string,
): Promise<{ project: Reply; visibility: string | undefined }> => {
  const result = await client.send({ path: `/api/v4/projects/${encodeURIComponent(path)}`, token })
  const project = readReply(result, client.baseUrl)
  const { visibility } = { ...((result.kind === 'answer' ? result.body : {}) as { visibility?: unknown }) }
  return {
    project,
    visibility: project.kind === 'ok' && typeof visibility === 'string' ? visibility : undefined,
  }
}
