import { secondsUntil } from '../clock/clock.ts'
import { hasScope } from '../gitlab/scopes.ts'
import type { RankedCandidate } from '../lookup/url-match.ts'
import { type CheckResult, failed, passed, skipped, warned } from './check.ts'
import type { ConnectionFacts, Facts } from './facts.ts'
import { checkGit, checkProject } from './reply-checks.ts'

/** Whether a repository can be scanned: a list of checks. Pure: no I/O, the time is among the facts. */

const whoOf = (account: string | null): string => (account === null ? 'the owner of the token' : account)

const CURES: Record<RankedCandidate['status'], string> = {
  active: 'Replace the token: PUT /v1/connections/{id}/token.',
  needs_reauthorization: 'Send the person a link to reconnect: POST /v1/connect-sessions with connection_id.',
  revoked: 'Send the person a link to reconnect: POST /v1/connect-sessions with connection_id.',
  expired: 'Ask the owner for a new token: PUT /v1/connections/{id}/token.',
}

const checkInstance = ({ host, isKnownInstance, candidates }: Facts): CheckResult =>
  isKnownInstance || candidates.length > 0
    ? passed(`${host} is known here.`)
    : failed(
        `No GitLab at ${host} is known here, or the URL lacks the path under which it lies.`,
        'Check the URL. An admin registers a GitLab with POST /v1/instances; then somebody connects.',
      )

const checkConnection = ({ connection, candidates }: Facts): CheckResult => {
  const [best, second] = candidates
  if (!best)
    return failed(
      'No connection of your organizations covers this URL.',
      'Send a person who reaches the repository a link: POST /v1/connect-sessions.',
    )
  if (!connection)
    return failed(`Connection ${best.id} covers this URL, but ${best.reason}.`, CURES[best.status])
  const beside = second ? ` ${candidates.length - 1} more cover it: ${second.reason || 'ranked lower'}.` : ''
  return passed(`Connection ${connection.id} (${connection.label}) matches best.${beside}`)
}

const checkStatus = ({ candidates, connection }: Facts): CheckResult => {
  const [best] = candidates
  if (!best) return skipped('There is no connection.')
  if (connection) return passed('The connection is active.')
  return failed(best.status_detail ?? `The connection is ${best.status}: ${best.reason}.`, CURES[best.status])
}

const TOKEN_CURES: Record<string, string> = {
  gitlab_unavailable: 'Ask again later: nothing is lost.',
  token_in_use: 'Wait until the other scans end, or ask with on_conflict=preempt.',
  oauth_app_rejected: 'An admin corrects the client id or secret of the OAuth app.',
}

const checkToken = ({ token }: Facts): CheckResult => {
  if (!token) return skipped('There is no connection to take a token from.')
  if (token.kind === 'leased') return passed('The service has a working token at hand.')
  return failed(
    `${token.detail} (${token.code})`,
    TOKEN_CURES[token.code] ?? 'Send the person a link to reconnect: POST /v1/connect-sessions.',
  )
}

const checkScopes = ({ token }: Facts): CheckResult => {
  if (token?.kind !== 'leased') return skipped('There is no token.')
  const { scopes } = token
  if (scopes.includes('granular'))
    return passed(
      'A fine-grained token: GitLab tells its permissions only when it is used, see the next checks.',
    )
  if (hasScope(scopes, 'read_repository'))
    return passed(`The token may read repositories: ${scopes.join(', ')}.`)
  return failed(
    `The token has ${scopes.join(', ') || 'no scope'}; reading code takes read_repository.`,
    'Connect a token, or authorize an OAuth app, with read_repository.',
  )
}

const withDuration = (seconds: number): string => `${seconds} s`

const checkRenewable = (
  facts: Facts,
  connection: ConnectionFacts,
  left: number,
  scan: number,
): CheckResult => {
  const { leasedUntil, lifetimeSeconds } = connection
  const missing = `The token ends ${withDuration(scan - left)} before the scan does.`
  if (lifetimeSeconds < scan)
    return warned(
      `${missing} No token of this connection lives longer than ${withDuration(lifetimeSeconds)}.`,
      'Renew on the way: POST /v1/leases/{id}/extend before the end; Git with the credential helper does so by itself.',
    )
  if (leasedUntil !== null && leasedUntil > facts.now)
    return warned(
      `${missing} The service can renew the token, but others use it until ${leasedUntil.toISOString()}.`,
      'Begin after that time, or ask with on_conflict=preempt, which ends their scans.',
    )
  return warned(
    `${missing} The service can renew the token.`,
    `Ask with min_ttl=${scan} when the scan starts: the service renews the token then.`,
  )
}

const checkLifetime = (facts: Facts): CheckResult => {
  const { connection, token, scanSeconds, now } = facts
  if (!connection || token?.kind !== 'leased') return skipped('There is no token.')
  const end = connection.tokenExpiresAt
  if (end === null) return passed('The token never ends.')
  const until = `until ${end.toISOString()}`
  if (scanSeconds === undefined) return passed(`The token lives ${until}. Send scan_seconds to compare.`)
  const left = Math.max(0, secondsUntil(end, now))
  if (left >= scanSeconds) return passed(`The token lives ${until}, longer than the scan takes.`)
  if (connection.refreshable) return checkRenewable(facts, connection, left, scanSeconds)
  return failed(
    `The token ends ${end.toISOString()}, ${withDuration(scanSeconds - left)} before the scan does, and cannot be renewed by the service.`,
    `Ask ${whoOf(connection.account)} for a new token: PUT /v1/connections/{id}/token.`,
  )
}

export type Check = { name: CheckName } & CheckResult
export const CHECK_NAMES = [
  'instance',
  'connection',
  'status',
  'token',
  'scopes',
  'git',
  'project',
  'lifetime',
] as const
type CheckName = (typeof CHECK_NAMES)[number]

const CHECKS: Record<CheckName, (facts: Facts) => CheckResult> = {
  instance: checkInstance,
  connection: checkConnection,
  status: checkStatus,
  token: checkToken,
  scopes: checkScopes,
  git: checkGit,
  project: checkProject,
  lifetime: checkLifetime,
}

/** Every check, in the order in which a person would look. The repository is ready when none fails. */
export const runChecks = (facts: Facts): { ready: boolean; checks: Check[] } => {
  const checks = CHECK_NAMES.map((name) => ({ name, ...CHECKS[name](facts) }))
  return { ready: checks.every(({ outcome }) => outcome !== 'fail'), checks }
}
