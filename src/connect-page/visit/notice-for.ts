import type { FastifyRequest } from 'fastify'
import { findAccount } from '../accounts/list-accounts.ts'
import { adviceFor, isProblemCode } from '../advice.ts'
import { describeIdentity } from '../connect/identity.ts'
import type { PageContext } from '../context.ts'
import { readField, readId } from '../form-fields.ts'
import type { Notice } from '../notice.ts'
import type { Visitor } from './visitor.ts'

/** What /connect?done= may say; anything else says nothing. */
const DONE = ['disconnected', 'kept', 'undone', 'signedOut'] as const
const DONE_ABOUT = ['verified', 'rotated', 'replaced'] as const

/** What the parameters of the address say, with which forms and GitLab send a browser back to the page. */
export const noticeFor = async (
  context: PageContext,
  request: FastifyRequest,
  visitor: Visitor,
): Promise<Notice | undefined> => {
  const { texts } = context
  switch (readField(request.query, 'status')) {
    case 'connected':
      return (
        (await identityNotice(context, request)) ??
        (visitor.kind === 'member' ? undefined : { kind: 'advice', advice: texts.identity.elsewhere })
      )
    case 'failed': {
      const code = readField(request.query, 'code') ?? ''
      const known = isProblemCode(code) ? code : 'authorization_failed'
      return { kind: 'advice', advice: adviceFor(known, {}, texts) }
    }
    default:
      return doneNotice(context, request, visitor)
  }
}

/** What the browser has just connected, with the way back. */
export const identityNotice = async (
  context: PageContext,
  request: FastifyRequest,
): Promise<Notice | undefined> => {
  const receipt = await context.receipts.read(request)
  const named = readId(request.query, 'connection_id')
  // Another tab has connected something since: what this address names is not what the receipt proves.
  if (!receipt || (named !== undefined && named !== receipt.connectionId)) return undefined
  const identity = await describeIdentity(context, receipt)
  return identity && { kind: 'identity', ...identity }
}

const doneNotice = async (
  context: PageContext,
  request: FastifyRequest,
  visitor: Visitor,
): Promise<Notice | undefined> => {
  const { texts } = context
  const done = readField(request.query, 'done')
  const simple = DONE.find((name) => name === done)
  if (simple) {
    const remedy = simple === 'undone' && visitor.kind === 'guest' ? texts.identity.afterUndo : undefined
    return { kind: 'done', text: texts.done[simple], remedy }
  }
  const about = DONE_ABOUT.find((name) => name === done)
  const id = readId(request.query, 'connection_id')
  if (!about || !id || visitor.kind !== 'member') return undefined
  const card = await findAccount(context, visitor.principal, id)
  return card && { kind: 'done', text: texts.done[about](card.who) }
}
