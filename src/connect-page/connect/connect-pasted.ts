import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Actor } from '../../callers/principal.ts'
import { addSeconds } from '../../clock/clock.ts'
import { RECEIPT_SECONDS } from '../../connect-sessions/receipt.ts'
import { connectAccessToken, connectOAuthToken } from '../../connections/connect-token.ts'
import type { SavedConnection } from '../../connections/save-connection.ts'
import { statusOf } from '../../errors/catalogue.ts'
import { Problem } from '../../errors/problem.ts'
import { adviceForProblem } from '../advice.ts'
import type { PageContext } from '../context.ts'
import { readField, requireToken } from '../form-fields.ts'
import type { RefusedForm } from '../home.ts'
import { baseUrlOf, findChosenApp } from './chosen-app.ts'
import { actorFor, type Connector, withLink } from './connector.ts'

/** Connects the personal, group or project access token of a form. */
export const connectPastedToken = (
  context: PageContext,
  connector: Connector,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> => {
  const { body } = request
  const { organization } = connector
  const baseUrl = readField(body, 'base_url')
  const group = readField(body, 'group')
  const filledIn = { form: 'token', baseUrl: baseUrl ?? '', group: group ?? '', app: '' } as const
  return submit(context, connector, request, reply, filledIn, async (actor) => {
    const token = requireToken(body, 'token')
    return connectAccessToken(context, { organization, baseUrl, token, group }, actor)
  })
}

/** Connects the OAuth access token of a form, with the refresh token if there is one. */
export const connectPastedOAuthToken = async (
  context: PageContext,
  connector: Connector,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> => {
  const { db } = context
  const { body } = request
  const { organization } = connector
  const app = await findChosenApp(db, body)
  const shown = readField(body, 'base_url') ?? app?.base_url ?? ''
  const filledIn = { form: 'oauth-token', baseUrl: shown, group: '', app: app?.slug ?? '' } as const
  return submit(context, connector, request, reply, filledIn, async (actor) => {
    const baseUrl = await baseUrlOf(db, body, app)
    const accessToken = requireToken(body, 'token')
    const refreshToken = readField(body, 'refresh_token') && requireToken(body, 'refresh_token')
    const oauthApp = refreshToken === undefined ? undefined : app?.slug
    const pasted = { organization, baseUrl, accessToken, refreshToken, oauthApp }
    return connectOAuthToken(context, pasted, actor)
  })
}

/** Connects what a form holds; a refusal comes back in the form, without the token. */
const submit = async (
  context: PageContext,
  connector: Connector,
  request: FastifyRequest,
  reply: FastifyReply,
  filledIn: Omit<RefusedForm, 'advice'>,
  connect: (actor: Actor) => Promise<SavedConnection>,
): Promise<FastifyReply> => {
  const { clock, texts, pages, receipts, at } = context
  const { visitor, organization } = connector
  try {
    const saved = await withLink(context, connector, () => connect(actorFor(connector, request.id)))
    const receipt = {
      connectionId: saved.id,
      connectSessionId: visitor.kind === 'guest' ? visitor.session.id : null,
      created: saved.created,
      issuedToUs: false,
    }
    await receipts.write(reply, receipt, addSeconds(new Date(clock()), RECEIPT_SECONDS))
    return reply.redirect(at(`/connect?status=connected&connection_id=${saved.id}`), 303)
  } catch (error) {
    if (!(error instanceof Problem) || error.code === 'session_expired') throw error
    const { baseUrl, group } = filledIn
    const advice = adviceForProblem(error, { baseUrl: baseUrl || undefined, group }, texts)
    return pages.home(reply, visitor, {
      refused: { ...filledIn, advice },
      organization,
      status: statusOf(error.code),
    })
  }
}
