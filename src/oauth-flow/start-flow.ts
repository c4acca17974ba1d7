import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ConnectSessionRow } from '../db/tables.ts'
import { stateBinding } from './authorization-app.ts'
import { beginRequest } from './begin-request.ts'
import type { FlowDeps } from './flow-deps.ts'

const FLOW_SECONDS = 600
const FLOW_NAME_LENGTH = 12

/**
 * Begins the authorization code flow (RFC 6749, section 4.1) with PKCE (RFC 7636). Only for a request that one of our
 * own forms has sent: GitLab skips its question for who has consented before, so whoever starts a flow in a browser
 * connects the account that is signed in there.
 * @returns the URL at GitLab to which the browser goes.
 * @throws {Problem} session_expired, forbidden, not_found
 */
export const startFlow = async (
  deps: FlowDeps,
  slug: string,
  connectSessionId: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<string> => {
  const { vault, oauthClients } = deps
  const wanted = { slug, connectSessionId, method: 'oauth', lifetimeSeconds: FLOW_SECONDS } as const
  const { app, instance, session, id } = await beginRequest(deps, wanted)
  const state = await vault.seal(id, stateBinding(app))
  const client = await oauthClients.for(app, instance)
  return client.authorizationUrl(request, reply, { state, flow: nameFlow(session) })
}

/**
 * A name for the cookies of a flow. Flows for different organizations go on side by side in one browser. A second
 * flow for the same organization takes the place of the first, so that cookies do not pile up.
 */
export const nameFlow = ({ organization, access_key_id }: ConnectSessionRow): string =>
  createHash('sha256').update(`${access_key_id} ${organization}`).digest('hex').slice(0, FLOW_NAME_LENGTH)
