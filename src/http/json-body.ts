import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { invalidField, type Problem } from '../errors/problem.ts'

/** The deepest body of ours has four levels. */
const MOST_LEVELS = 32
/** What a text that JSON.parse accepts is made of, apart from numbers and literals, which hold no names and no levels. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]:]/gs

/**
 * Refuses what JSON.parse accepts and no two readers understand alike: members with one name, and deep nesting.
 * The message names no member: what is misplaced may be a secret.
 * @param text valid JSON
 */
export const faultOf = (text: string): Problem | undefined => {
  const levels: Set<string>[] = []
  let last = ''
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === '{' || token === '[') {
      if (levels.push(new Set()) > MOST_LEVELS)
        return invalidField('body', `is nested deeper than ${MOST_LEVELS} levels`)
    } else if (token === '}' || token === ']') {
      levels.pop()
    } else if (token === ':') {
      const name = JSON.parse(last) as string
      const names = levels.at(-1)
      if (names?.has(name)) return invalidField('body', 'has two members with the same name')
      names?.add(name)
    } else {
      last = token
    }
  }
  return undefined
}

/** The only bodies of the API: JSON in UTF-8. Pages register forms for themselves. */
export const acceptJsonOnly = (
  app: Pick<FastifyInstance, 'getDefaultJsonParser' | 'removeAllContentTypeParsers' | 'addContentTypeParser'>,
): void => {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer' },
    (request: FastifyRequest, body: Buffer, done) => {
      if (!isUtf8(body)) return done(invalidField('body', 'is not UTF-8'))
      const text = body.toString('utf8')
      return parse(request, text, (error, value) => done(error ?? faultOf(text) ?? null, value))
    },
  )
}
