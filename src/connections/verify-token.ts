import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { InstanceRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { type Inspection, inspectToken, type TokenFacts } from '../gitlab/inspect-token.ts'
import type { Refusal } from '../gitlab/refusal.ts'
import { missingScopes } from '../gitlab/scopes.ts'
import type { InstanceClients } from '../instances/instance-clients.ts'
import { resolveInstance } from '../instances/resolve-instance.ts'

/** What a scanner needs at the least: to clone. */
export const REQUIRED_SCOPES = ['read_repository']

export type VerifyDeps = { db: Database; clock: Clock; instanceClients: InstanceClients }

export type Verification = { instance: InstanceRow; inspection: Inspection }

/** Asks the instance at `baseUrl` what the token is. Stores nothing. */
export const verifyToken = async (
  deps: VerifyDeps,
  baseUrl: string | undefined,
  token: string,
): Promise<Verification> => {
  const instance = await resolveInstance(deps.db, baseUrl, deps.clock)
  const inspection = await inspectToken(deps.instanceClients.for(instance), token, new Date(deps.clock()))
  return { instance, inspection }
}

export const toProblem = ({ code, detail, retryAfterSeconds }: Refusal): Problem =>
  new Problem(
    code,
    code === 'gitlab_unavailable' ? `${detail} Nothing was changed; try again later.` : detail,
    retryAfterSeconds === undefined ? {} : { retryAfterSeconds },
  )

/** @throws {Problem} with the refusal, or missing_scopes. */
export const requireUsable = (inspection: Inspection): TokenFacts => {
  if (!inspection.valid) throw toProblem(inspection.refusal)
  const missing = missingScopes(inspection.facts.scopes, REQUIRED_SCOPES)
  if (missing.length > 0) throw missingScopesProblem(missing, 'to clone a repository')
  return inspection.facts
}

export const missingScopesProblem = (missing: string[], purpose: string): Problem =>
  new Problem(
    'missing_scopes',
    `The token needs ${missing.join(', ')} ${purpose}. Create one with it at GitLab.`,
    {
      members: { missing_scopes: missing },
    },
  )
