import type { FastifyReply, FastifyRequest } from 'fastify'
import { checkToken } from '../../connections/check-token.ts'
import { Problem } from '../../errors/problem.ts'
import type { TokenFacts } from '../../gitlab/inspect-token.ts'
import { toProblem } from '../../http/errors.ts'
import { adviceForProblem } from '../advice.ts'
import type { PageContext } from '../context.ts'
import { readField, requireField } from '../form-fields.ts'
import { requireSender } from '../visit/sealed-form.ts'
import { findChosenApp, findNamedServer } from './named-server.ts'
import { reportOn, type TokenReport } from './token-report.ts'

/** Which form a token is pasted into, and which kinds it takes; `any` takes all. */
const PLACES = ['oauth', 'token', 'any'] as const
type Place = (typeof PLACES)[number]

export const readPlace = (query: unknown): Place =>
  PLACES.find((name) => name === readField(query, 'place')) ?? 'any'

const refuseOtherForm =
  (place: Place) =>
  ({ kind }: TokenFacts): Problem | undefined =>
    place === 'any' || (kind === 'oauth_access_token') === (place === 'oauth')
      ? undefined
      : new Problem('wrong_token_kind')

/** What to say below a token field while somebody fills in the form. Never throws: the answer is a part of a page. */
export const reportOnPasted = async (
  context: PageContext,
  place: Place,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<TokenReport> => {
  const { texts } = context
  try {
    const { organization } = await requireSender(context, request, reply)
    return await report(context, request.body, place, organization)
  } catch (error) {
    const problem = toProblem(error as Parameters<typeof toProblem>[0]) ?? new Problem('internal_error')
    if (problem.code === 'internal_error')
      request.log.error({ err: error, request_id: request.id }, 'unexpected error')
    return { kind: 'refused', advice: adviceForProblem(problem, {}, texts) }
  }
}

const report = async (
  context: PageContext,
  body: unknown,
  place: Place,
  organization: string | null,
): Promise<TokenReport> => {
  const { db, clock, texts } = context
  if (readField(body, 'token') === undefined) return { kind: 'waiting' }
  const server = await findNamedServer(context, body, await findChosenApp(db, body))
  if (server.kind === 'unnamed') return { kind: 'unnamed' }
  if (server.kind === 'asks') return { kind: 'asks', question: server }
  const token = requireField(body, 'token')
  const { baseUrl } = server
  const pasted = { token, baseUrl, group: readField(body, 'group') }
  const organizations = organization === null ? [] : [organization]
  const finding = await checkToken(context, { ...pasted, organizations, refuse: refuseOtherForm(place) })
  const offered = place === 'oauth' || pasted.group !== undefined ? undefined : server.group
  // The next check, and the form itself, go to the server that the person has named here.
  return { ...reportOn(finding, pasted, new Date(clock()), texts), asked: baseUrl, offered }
}
