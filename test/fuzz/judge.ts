import type { Description } from './description.ts'
import type { FuzzRequest } from './inputs.ts'
import type { FuzzAnswer } from './scene.ts'

const PROBLEM = 'application/problem+json'

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What is wrong with an answer, by the description alone; undefined = nothing. */
export const judge = (
  { checkOf }: Description,
  { operation }: FuzzRequest,
  { status, headers, text, secret }: FuzzAnswer,
): string | undefined => {
  if (status === 500) return 'it is a 500'
  if (text.includes(secret) || JSON.stringify(headers).includes(secret)) return 'it repeats the secret'
  const answer = operation.responses[status]
  if (!answer) return `${status} is not described`
  const [type = ''] = String(headers['content-type'] ?? '').split(';')
  if (!answer.content) return text === '' ? undefined : `${status} has a body`
  const described = answer.content[type]
  if (!described) return `${status} is ${type || 'without a type'}`
  if (!type.endsWith('json')) return undefined
  const body = parse(text)
  const check = checkOf(operation, String(status), type)
  if (!check(body)) return `it does not match its schema: ${JSON.stringify(check.errors?.slice(0, 3))}`
  if (type !== PROBLEM) return undefined
  const { code } = body as { code: string }
  return described.examples && code in described.examples
    ? undefined
    : `${code} is not described for ${status}`
}
