import type { Database } from '../db/database.ts'
import type { InstanceRow } from '../db/tables.ts'
import { invalidField, Problem } from '../errors/problem.ts'
import type { GitLabHttpClient } from '../gitlab/http-client.ts'
import { type Refusal, refusalProblem } from '../gitlab/refusal.ts'
import { type PastedGroup, readGroup } from '../gitlab/urls/pasted-group.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { UNREGISTERED_ID } from '../instances/instance-clients.ts'
import { suggestInstance } from '../instances/suggest-instance.ts'

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
  db: Database,
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
export const clientOf = async (
  { db, instanceClients }: Pick<GitLabAccess, 'db' | 'instanceClients'>,
  instance: InstanceRow,
  organizations: string[] | undefined,
): Promise<GitLabHttpClient> => {
  try {
    return instanceClients.for(instance)
  } catch (error) {
    throw error instanceof Problem ? await withSuggestion(db, error, instance, organizations) : error
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
export const requireGroup = (written: string | undefined, instance: InstanceRow): string | undefined => {
  if (written === undefined || written.trim() === '') return undefined
  const group = readGroup(written, instance)
  if ('fault' in group) throw invalidField('group', FAULTS[group.fault])
  return group.path
}

/** What to answer where GitLab refused a token, or was not there. */
export const problemAt = (
  db: Database,
  instance: InstanceRow,
  refusal: Refusal,
  organizations: string[] | undefined,
): Promise<Problem> => withSuggestion(db, problemOf(refusal, instance), instance, organizations)
