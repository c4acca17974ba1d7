import type { Principal } from '../callers/principal.ts'
import { Problem } from '../errors/problem.ts'
import type { Delivery } from './serving-decision.ts'

export const sealedAnswerRequired = (): Problem =>
  new Problem(
    'sealed_answer_required',
    'Your access key takes sealed answers only: ask with Accept: application/jose, where the operation has it.',
  )

/** Keeps an operation that knows nothing of sealing from handing out a token in plain. @throws {Problem} sealed_answer_required */
export const requireDelivery = (principal: Principal, delivery: Delivery = 'plain'): void => {
  if (principal.requiresSealed && delivery === 'plain') throw sealedAnswerRequired()
}
