import type { Principal } from '../callers/principal.ts'
import { Problem } from '../errors/problem.ts'
import type { Delivery } from './serving-decision.ts'

export const sealedAnswerRequired = (): Problem =>
  new Problem(
    'sealed_answer_required',
    'Your access key takes sealed answers only: ask with Accept: application/jose, where the operation has it.',
  )

/** So that no operation that knows nothing of sealing hands out a token in plain. @throws {Problem} */
export const requireDelivery = (principal: Principal, delivery: Delivery = 'plain'): void => {
  if (principal.requiresSealed && delivery === 'plain') throw sealedAnswerRequired()
}
