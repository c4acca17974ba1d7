import { Type } from 'typebox'
import { CATALOGUE, type ProblemCode, statusOf, titleOf } from '../errors/catalogue.ts'

export const PROBLEM_MEDIA_TYPE = 'application/problem+json'
const EXAMPLE_REQUEST_ID = '019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c'

/** RFC 9457, with our stable `code` as what programs branch on. */
export const problemSchema = Type.Object(
  {
    type: Type.String({ description: 'Always about:blank: the code says what it is.' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'For people; it may change.' }),
    code: Type.String({ enum: Object.keys(CATALOGUE), description: 'Stable: branch on this.' }),
    request_id: Type.String({ description: 'Find it in the log of the service.' }),
    errors: Type.Optional(
      Type.Array(Type.Object({ field: Type.String(), message: Type.String() }), {
        description: 'What is wrong with which field of the input.',
      }),
    ),
  },
  { $id: 'Problem', additionalProperties: true },
)

/** Every operation can answer these. */
const EVERYWHERE: ProblemCode[] = [
  'invalid_request',
  'rate_limited',
  'internal_error',
  'database_unavailable',
  'overloaded',
]
const WITH_ACCESS_KEY: ProblemCode[] = ['unauthorized', 'forbidden']
const WITH_BODY: ProblemCode[] = ['payload_too_large', 'unsupported_media_type']

export type ProblemResponse = {
  description: string
  content: Record<string, { schema: object; examples?: object }>
}

const toResponses = (codes: ProblemCode[]): Record<number, ProblemResponse> => {
  const byStatus = Map.groupBy(new Set(codes), statusOf)
  return Object.fromEntries(
    [...byStatus].map(([status, group]) => [
      status,
      {
        description: group.map((code) => `\`${code}\`: ${titleOf(code)}.`).join(' '),
        content: {
          [PROBLEM_MEDIA_TYPE]: {
            // Not the schema of a problem: a serializer for each answer of each route would take half of the start.
            // What is sent is text already; api-docs.ts names the schema in the description.
            schema: {},
            examples: Object.fromEntries(group.map((code) => [code, { value: example(code) }])),
          },
        },
      },
    ]),
  )
}

const example = (code: ProblemCode) => ({
  type: 'about:blank',
  title: titleOf(code),
  status: statusOf(code),
  detail: `${titleOf(code)}.`,
  code,
  request_id: EXAMPLE_REQUEST_ID,
})

/** The problem answers of an operation behind an access key. */
export const problems = (...codes: ProblemCode[]) =>
  toResponses([...EVERYWHERE, ...WITH_ACCESS_KEY, ...codes])
/** The same for an operation with a body. */
export const problemsWithBody = (...codes: ProblemCode[]) => problems(...WITH_BODY, ...codes)
/** The problem answers of an operation that anybody may call. */
export const publicProblems = (...codes: ProblemCode[]) => toResponses([...EVERYWHERE, ...codes])
