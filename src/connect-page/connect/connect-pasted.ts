import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Actor } from '../../callers/principal.ts'
import { addSeconds } from '../../clock/clock.ts'
import { labelsFor } from '../../connect-sessions/connect-session.ts'
import { RECEIPT_SECONDS } from '../../connect-sessions/receipt.ts'
import { connectAccessToken, connectOAuthToken } from '../../connections/connect-token.ts'
import type { Alongside, SavedConnection } from '../../connections/save-connection.ts'
import { OtherIdentity } from '../../connections/take-over.ts'
import { statusOf } from '../../errors/catalogue.ts'
import { invalidField, Problem } from '../../errors/problem.ts'
import { adviceForProblem } from '../advice.ts'
import type { PageContext } from '../context.ts'
import { readField, requireField } from '../form-fields.ts'
import type { RefusedForm } from '../home.ts'
import { actorFor, type Connector, checkAlongside } from './connector.ts'
import { findChosenApp, findNamedServer, type HostQuestion } from './named-server.ts'
import { describeStranger } from './question.ts'

type Connect = (baseUrl: string, actor: Actor, alongside: Alongside) => Promise<SavedConnection>
/** No form to come back to: the link or the sign-in is over. */
const ENDS_THE_VISIT: ReadonlySet<string> = new Set(['session_expired', 'unauthorized'])

type Pasted = { connector: Connector; request: FastifyRequest; reply: FastifyReply }
type FilledIn = Omit<RefusedForm, 'answer'>

/** Connects the personal, group or project access token of a form. */
export const connectPastedToken = (context: PageContext, pasted: Pasted): Promise<FastifyReply> => {
  const { body } = pasted.request
  const { organization } = pasted.connector
  const group = readField(body, 'group')
  const filledIn = {
    form: 'token',
    baseUrl: readField(body, 'base_url') ?? '',
    group: group ?? '',
    app: '',
  } as const
  return submit(context, pasted, filledIn, async (baseUrl, actor, alongside) => {
    const token = requireField(body, 'token')
    const purpose = purposeOf(pasted.connector, body)
    return connectAccessToken(context, { organization, baseUrl, token, group, ...purpose }, actor, alongside)
  })
}

/** Connects the OAuth access token of a form, with the refresh token if there is one. */
export const connectPastedOAuthToken = (context: PageContext, pasted: Pasted): Promise<FastifyReply> => {
  const { body } = pasted.request
  const { organization } = pasted.connector
  const app = readField(body, 'oauth_app')
  const filledIn = {
    form: 'oauth-token',
    baseUrl: readField(body, 'base_url') ?? '',
    group: '',
    app: app ?? '',
  } as const
  return submit(context, pasted, filledIn, async (baseUrl, actor, alongside) => {
    const accessToken = requireField(body, 'token')
    const refreshToken = readField(body, 'refresh_token')
    const oauthApp = refreshToken === undefined ? undefined : app
    const purpose = purposeOf(pasted.connector, body)
    const token = { organization, baseUrl, accessToken, refreshToken, oauthApp, ...purpose }
    return connectOAuthToken(context, token, actor, alongside)
  })
}

/** What a link has settled; a member connects anew. */
const purposeOf = ({ visitor }: Connector, body: unknown) => {
  if (visitor.kind === 'member') return {}
  const { session } = visitor.link
  const { connection_id, group_path } = session
  const accepted = readField(body, 'accept_identity')
  return {
    labels: labelsFor(session),
    ...(group_path === null ? {} : { group: group_path }),
    ...(connection_id === null ? {} : { into: { connectionId: connection_id, accepts: accepted ?? false } }),
  }
}

/** Connects what a form holds; a refusal comes back in the form, without the token. */
const submit = async (
  context: PageContext,
  { connector, request, reply }: Pasted,
  filledIn: FilledIn,
  connect: Connect,
): Promise<FastifyReply> => {
  const { db, clock, texts, pages, receipts, at } = context
  const { visitor, organization } = connector
  let asked: string | undefined
  try {
    const app = await findChosenApp(db, request.body)
    const server = await findNamedServer(context, request.body, app)
    if (server.kind === 'unnamed') throw invalidField('base_url', 'is missing')
    if (server.kind === 'asks')
      return await askForHost(context, { connector, request, reply }, filledIn, server)
    requireSettledServer(connector, server.baseUrl)
    asked = server.baseUrl
    const actor = actorFor(connector, request)
    const saved = await connect(server.baseUrl, actor, checkAlongside(context, connector))
    const receipt = {
      connectionId: saved.id,
      connectSessionId: visitor.kind === 'guest' ? visitor.link.session.id : null,
      created: saved.created,
      issuedToUs: false,
    }
    await receipts.write(reply, receipt, addSeconds(new Date(clock()), RECEIPT_SECONDS))
    return reply.redirect(at(`/connect?status=connected&connection_id=${saved.id}`), 303)
  } catch (error) {
    if (!(error instanceof Problem) || ENDS_THE_VISIT.has(error.code)) throw error
    if (error instanceof OtherIdentity) {
      const refused = { ...filledIn, answer: { stranger: describeStranger(error, organization, texts) } }
      return pages.home(reply, visitor, { refused, organization, status: statusOf(error.code) })
    }
    const { baseUrl, group } = filledIn
    const advice = adviceForProblem(error, { baseUrl: asked ?? (baseUrl || undefined), group }, texts)
    const refused = { ...filledIn, answer: { advice } }
    return pages.home(reply, visitor, { refused, organization, status: statusOf(error.code) })
  }
}

/** @throws {Problem} invalid_request, when the link is for another server */
const requireSettledServer = ({ visitor }: Connector, baseUrl: string): void => {
  const settled = visitor.kind === 'guest' ? visitor.link.session.base_url : null
  if (settled !== null && settled !== baseUrl)
    throw invalidField('settled_server', `is another one: this link is for ${settled} alone`)
}

/** The form comes back with a button that names the server. Nothing was sent there. */
const askForHost = (
  { pages }: PageContext,
  { connector, reply }: Pasted,
  filledIn: FilledIn,
  question: HostQuestion,
): Promise<FastifyReply> => {
  const { visitor, organization } = connector
  const refused = { ...filledIn, answer: { question } }
  return pages.home(reply, visitor, { refused, organization, status: statusOf('invalid_request') })
}
