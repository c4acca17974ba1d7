import type { FastifyRequest } from 'fastify'
import { checkToken } from '../../connections/check-token.ts'
import { Problem } from '../../errors/problem.ts'
import type { TokenFacts } from '../../gitlab/inspect-token.ts'
import { toProblem } from '../../http/errors.ts'
import { adviceForProblem } from '../advice.ts'
import type { PageContext } from '../context.ts'
import { readField, requireToken } from '../form-fields.ts'
import type { Visitor } from '../visit/visitor.ts'
import { baseUrlOf, findChosenApp } from './chosen-app.ts'
import { reportOn, type TokenReport } from './token-report.ts'

/** Which form a token is pasted into, and which kinds it takes; `any` takes all. */
const FORMS = ['oauth', 'token', 'any'] as const
type Form = (typeof FORMS)[number]

export const readForm = (query: unknown): Form =>
  FORMS.find((name) => name === readField(query, 'place')) ?? 'any'

const refuseOtherForm =
  (form: Form) =>
  ({ kind }: TokenFacts): Problem | undefined =>
    form === 'any' || (kind === 'oauth_access_token') === (form === 'oauth')
      ? undefined
      : new Problem('wrong_token_kind')

/** What to say below a token field while somebody fills in the form. Never throws: the answer is a part of a page. */
export const reportOnPasted = async (
  context: PageContext,
  visitor: Visitor,
  form: Form,
  request: FastifyRequest,
): Promise<TokenReport> => {
  const { texts } = context
  if (visitor.kind === 'nobody') {
    const advice = { ...texts.report.signedOut, code: 'unauthorized', link: undefined, detail: undefined }
    return { kind: 'refused', advice }
  }
  if (readField(request.body, 'token') === undefined) return { kind: 'waiting' }
  try {
    return await askGitLab(context, request.body, form)
  } catch (error) {
    const problem = toProblem(error as Parameters<typeof toProblem>[0]) ?? new Problem('internal_error')
    if (problem.code === 'internal_error')
      request.log.error({ err: error, request_id: request.id }, 'unexpected error')
    return { kind: 'refused', advice: adviceForProblem(problem, {}, texts) }
  }
}

const askGitLab = async (context: PageContext, body: unknown, form: Form): Promise<TokenReport> => {
  const { db, clock, texts } = context
  const token = requireToken(body, 'token')
  const baseUrl = await baseUrlOf(db, body, await findChosenApp(db, body))
  const pasted = { token, baseUrl, group: readField(body, 'group') }
  const finding = await checkToken(context, { ...pasted, refuse: refuseOtherForm(form) })
  return reportOn(finding, pasted, new Date(clock()), texts)
}
