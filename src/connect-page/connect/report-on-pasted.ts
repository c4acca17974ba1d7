import type { FastifyReply, FastifyRequest } from 'fastify'
import { checkToken, type TokenFinding } from '../../connections/check-token.ts'
import { holderOf, isNameless, judgeSuccession } from '../../connections/identity.ts'
import { findTarget, type Target } from '../../connections/take-over.ts'
import { Problem } from '../../errors/problem.ts'
import type { TokenFacts } from '../../gitlab/inspect-token.ts'
import { toProblem } from '../../http/errors.ts'
import { adviceForProblem } from '../advice.ts'
import type { PageContext } from '../context.ts'
import { readField, requireField } from '../form-fields.ts'
import type { Texts } from '../texts.en.ts'
import { requireSender, type Sender } from '../visit/sealed-form.ts'
import { findChosenApp, findNamedServer } from './named-server.ts'
import { describeStranger, type StrangerQuestion } from './question.ts'
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
    const sender = await requireSender(context, request, reply)
    return await report(context, request.body, place, sender)
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
  sender: Sender,
): Promise<TokenReport> => {
  const { db, clock, texts } = context
  if (readField(body, 'token') === undefined) return { kind: 'waiting' }
  const server = await findNamedServer(context, body, await findChosenApp(db, body))
  if (server.kind === 'unnamed') return { kind: 'unnamed' }
  if (server.kind === 'asks') return { kind: 'asks', question: server }
  const token = requireField(body, 'token')
  const { baseUrl } = server
  const pasted = { token, baseUrl, group: readField(body, 'group') }
  const target = await findTargetOf(context, sender)
  const finding = await checkToken(context, {
    ...pasted,
    organizations: sender.organization === null ? [] : [sender.organization],
    ...(target ? { group: undefined, covers: target.places } : {}),
    refuse: refuseOtherForm(place),
  })
  const offered = place === 'oauth' || target || pasted.group !== undefined ? undefined : server.group
  const stranger = target && strangerIn(finding, target, texts)
  // The next check, and the form itself, go to the server that the person has named here.
  return { ...reportOn(finding, pasted, new Date(clock()), texts), asked: baseUrl, offered, stranger }
}

/** The connection that the token would take over; undefined = it makes one of its own. */
const findTargetOf = async (
  { db }: PageContext,
  { visitor, connectionId }: Sender,
): Promise<Target | undefined> => {
  const id = visitor.kind === 'guest' ? visitor.link.session.connection_id : connectionId
  return id === null ? undefined : findTarget(db, id)
}

/** Whose place a good token would take; undefined = it is the same account, or its successor. */
const strangerIn = (
  finding: TokenFinding,
  { row, places }: Target,
  texts: Texts,
): StrangerQuestion | undefined => {
  if (!finding.accepted) return undefined
  const { kind, user } = finding.facts
  const method = kind === 'oauth_access_token' ? 'oauth' : 'token'
  const given = {
    method,
    kind,
    userId: user.id,
    places: finding.places ?? [],
    isNameless: isNameless(kind, user.username, finding.facts.scopes),
  } as const
  if (judgeSuccession(holderOf(row, places), given) !== 'other') return undefined
  const held = { userId: row.gitlab_user_id, username: row.gitlab_username }
  return describeStranger({ held, given: { ...given, username: user.username } }, row.organization, texts)
}
