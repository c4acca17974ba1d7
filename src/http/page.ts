import { type TSchema, Type } from 'typebox'
import { invalidField } from '../errors/problem.ts'
import { NullableText, refTo } from './schemas.ts'

export const DEFAULT_LIMIT = 20
export const MAX_LIMIT = 100

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export const pageQuery = {
  limit: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: MAX_LIMIT,
      default: DEFAULT_LIMIT,
      description: 'How many items a page has at most.',
    }),
  ),
  cursor: Type.Optional(
    Type.String({
      maxLength: 200,
      description: 'next_cursor of the previous page. Leave it out for the first page.',
    }),
  ),
}

/** @param item a named schema, which the room registers beside the page. */
export const pageOf = <Item extends TSchema>(name: string, item: Item) =>
  Type.Object(
    {
      items: Type.Array(refTo(item)),
      next_cursor: NullableText('Send it as `cursor` to get the next page. null: this is the last page.'),
    },
    { $id: name, description: 'One page of a list.' },
  )

/** After what the page starts: an id, or what else `cursorOf` told toPage. @param pattern what that looks like */
export const readCursor = (cursor: string | undefined, pattern = UUID): string | undefined => {
  if (cursor === undefined) return undefined
  const after = Buffer.from(cursor, 'base64url').toString('utf8')
  if (!pattern.test(after)) throw invalidField('cursor', 'is not a next_cursor of this list')
  return after
}

/** Takes one row more than the page holds, to know whether there is another page. */
export const toPage = <Row extends { id: string }, Item>(
  rows: Row[],
  limit: number,
  toItem: (row: Row) => Item,
  cursorOf: (row: Row) => string = ({ id }) => id,
) => {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return {
    items: items.map(toItem),
    next_cursor: rows.length > limit && last ? Buffer.from(cursorOf(last)).toString('base64url') : null,
  }
}
