import { hasScope } from '../gitlab/scopes.ts'
import { type CheckResult, failed, passed, skipped, warned } from './check.ts'
import type { Facts, Reply } from './facts.ts'

/** What GitLab's answers about the repository mean. Pure. */

type Refused = Exclude<Reply, { kind: 'ok' | 'ok_moved' }>

const NOT_VISIBLE = 'The repository is gone, or the account of the token does not see it.'
const INVITE =
  'Check the URL. Otherwise add the account to the project as Reporter or higher, or connect an account that reaches it.'

const RULE_CURES: Record<string, string> = {
  address_banned: 'Ask an admin of the GitLab whether the address of the service is allowed there.',
  ip_not_allowed: 'Ask an owner of the group to allow the address of the service.',
  fine_grained_required:
    'Connect a fine-grained token with "Code: Download", a group token, a project token or a service account.',
}

const explain = (reply: Refused, account: string): { detail: string; cure: string } => {
  switch (reply.kind) {
    case 'moved':
      return {
        detail: `The repository has moved${reply.to ? `: ${reply.to}` : ''}.`,
        cure: reply.to?.startsWith('http') ? `Scan ${reply.to}.` : 'Scan it under its new URL.',
      }
    case 'sign_in':
      return { detail: `GitLab leads to its sign-in page: hidden. ${NOT_VISIBLE}`, cure: INVITE }
    case 'unauthorized':
      return {
        detail: 'GitLab refuses this token for this repository.',
        cure: `The service asks GitLab about the token: POST /v1/connections/{id}/verify. If the token works, ${account} does not reach the repository: ${INVITE}`,
      }
    case 'sso':
      return {
        detail: 'The group admits only people with a single sign-on session.',
        cure: `Ask ${account} to sign in to the group once by single sign-on, or connect a group token, a project token or a service account: these are exempt.`,
      }
    case 'scope':
      return {
        detail: 'The scope, the permissions or the role of the token do not suffice to read the code.',
        cure: 'Connect a token with read_repository (fine-grained: Code: Download) of an account that is Reporter or higher.',
      }
    case 'forbidden':
      return {
        detail: 'GitLab forbids this: a rule for addresses, a blocked address, or a rule of the group.',
        cure: 'Ask an admin of the GitLab whether the address of the service is allowed there.',
      }
    case 'rule':
      return {
        detail: `${reply.detail} (${reply.code})`,
        cure:
          RULE_CURES[reply.code] ??
          `Ask ${account} to put this right at GitLab: the connection goes on by itself.`,
      }
    case 'not_found':
      return { detail: NOT_VISIBLE, cure: INVITE }
    case 'unavailable':
      return {
        detail: 'GitLab does not answer right now.',
        cure: `Ask again ${reply.retryAfterSeconds === undefined ? 'later' : `in ${reply.retryAfterSeconds} s`}.`,
      }
    case 'unexpected':
      return {
        detail: `GitLab answers ${reply.status}, which it does not do for a repository.`,
        cure: 'Check whether a proxy in front of GitLab answers, and whether the URL is that of a repository.',
      }
  }
}

const accountOf = ({ connection }: Facts): string => connection?.account ?? 'the owner of the token'

export const checkGit = (facts: Facts): CheckResult => {
  const { git, isPublic } = facts
  if (!git) return skipped('There is no token with which to ask.')
  if (git.kind === 'ok_moved')
    return warned(
      `GitLab serves the repository to this token under its new path: ${git.to}.`,
      `Scan ${git.to}: the old path ends when somebody else takes it.`,
    )
  if (git.kind !== 'ok') {
    const { detail, cure } = explain(git, accountOf(facts))
    return failed(detail, cure)
  }
  if (isPublic === true)
    return warned(
      'GitLab serves the repository, but it is public: anybody gets it, which proves nothing about the token.',
      'Nothing to do for this repository. Try the token on a private one.',
    )
  return passed(
    isPublic === false
      ? 'GitLab serves the repository to this token, and to nobody without one.'
      : 'GitLab serves the repository to this token.',
  )
}

export const checkProject = (facts: Facts): CheckResult => {
  const { project, git, token } = facts
  if (token?.kind === 'leased' && !project && !hasScope(token.scopes, 'read_api'))
    return skipped('The token is for Git alone: without read_api it cannot ask the API.')
  if (!project) return skipped('There is no token with which to ask.')
  if (project.kind === 'ok' || project.kind === 'ok_moved') return passed('The API shows the project.')
  const { detail, cure } = explain(project, accountOf(facts))
  // Where Git works the code can be scanned; what takes the API cannot.
  return git?.kind === 'ok' || git?.kind === 'ok_moved'
    ? warned(`In the API: ${detail}`, cure)
    : failed(`In the API: ${detail}`, cure)
}
