import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import { bodyProblems, PROBLEM_MEDIA_TYPE } from './problem-schema.ts'

type Document = Extract<
  Parameters<NonNullable<FastifyDynamicSwaggerOptions['transformObject']>>[0],
  { openapiObject: unknown }
>['openapiObject']
type Content = { schema?: object; examples?: Record<string, object> }
type Operation = { responses?: Record<string, { content?: Record<string, Content> }> }
type Node = Record<string, unknown>

/** An operation that asks for no body reads the one that comes all the same, and may refuse it. */
const addBodyProblems = (document: Document): void => {
  for (const operations of Object.values(document.paths ?? {})) {
    for (const [method, operation] of Object.entries(operations ?? {})) {
      const { responses } = operation as Operation
      if (method !== 'get' && responses)
        Object.assign(responses, { ...structuredClone(bodyProblems), ...responses })
    }
  }
}

const problemsOf = (document: Document): Content[] =>
  Object.values(document.paths ?? {})
    .flatMap((operations) => Object.values(operations ?? {}) as Operation[])
    .flatMap(({ responses }) => Object.values(responses ?? {}))
    .flatMap(({ content }) => content?.[PROBLEM_MEDIA_TYPE] ?? [])

/** Gives every problem answer the schema and the examples that all of them share. */
const nameProblems = (document: Document): void => {
  const shared: Record<string, object> = {}
  for (const problem of problemsOf(document)) {
    problem.schema = { $ref: '#/components/schemas/Problem' }
    for (const [code, example] of Object.entries(problem.examples ?? {})) {
      shared[code] = example
      problem.examples![code] = { $ref: `#/components/examples/${code}` }
    }
  }
  Object.assign(document, { components: { ...document.components, examples: shared } })
}

const literalOf = (choice: Node): unknown[] =>
  choice.type === 'string' && Array.isArray(choice.enum) && Object.keys(choice).length === 2
    ? choice.enum
    : []

/** Writes a choice between texts as one enum: generators make a type with a name of it. */
const joinLiterals = (node: unknown): void => {
  if (typeof node !== 'object' || node === null) return
  for (const member of Object.values(node)) joinLiterals(member)
  const { anyOf } = node as { anyOf?: unknown }
  if (!Array.isArray(anyOf) || !anyOf.every((choice) => literalOf(choice).length > 0)) return
  Object.assign(node, { type: 'string', enum: anyOf.flatMap(literalOf) })
  delete (node as Node).anyOf
}

/** In words for messages of the validator alone: the pattern says the same. */
const dropForms = (node: unknown): void => {
  if (typeof node !== 'object' || node === null) return
  delete (node as Node)['x-form']
  for (const member of Object.values(node)) dropForms(member)
}

/** The description for people and generators, from what the plugin makes of the routes. */
export const polishDescription = (generated: Document): Document => {
  // A copy in which nothing is shared: the YAML would have anchors and aliases, which some readers refuse.
  const document = JSON.parse(JSON.stringify(generated)) as Document
  addBodyProblems(document)
  nameProblems(document)
  joinLiterals(document.paths)
  joinLiterals(document.components)
  dropForms(document)
  return document
}
