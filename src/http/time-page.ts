import { Type } from 'typebox'
import { invalidField } from '../errors/problem.ts'

/** Where a page of a list that is sorted by time, the newest first, ended. */
export type TimeCursor = { at: Date; id: string }

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const MILLISECONDS = /^\d{1,15}$/

/** The part of a query that every list of records has. */
export const recordQuery = {
  from: Type.Optional(Type.String({ format: 'date-time', description: 'From this time on (RFC 3339).' })),
  to: Type.Optional(Type.String({ format: 'date-time', description: 'Up to before this time (RFC 3339).' })),
}

/** @throws {Problem} invalid_request */
export const readTimeCursor = (cursor: string | undefined): TimeCursor | undefined => {
  if (cursor === undefined) return undefined
  const [milliseconds = '', id = '', ...more] = Buffer.from(cursor, 'base64url').toString('utf8').split(' ')
  if (!MILLISECONDS.test(milliseconds) || !UUID.test(id) || more.length > 0)
    throw invalidField('cursor', 'is not a next_cursor of this list')
  return { at: new Date(Number(milliseconds)), id }
}

export type TimeRange = { from: Date | undefined; to: Date | undefined }

export const readTimeRange = ({ from, to }: { from?: string; to?: string }): TimeRange => ({
  from: from === undefined ? undefined : new Date(from),
  to: to === undefined ? undefined : new Date(to),
})

/** Takes one row more than the page holds, to know whether there is another page. */
export const toTimePage = <Row extends { id: string }, Item>(
  rows: Row[],
  limit: number,
  timeOf: (row: Row) => Date,
  toItem: (row: Row) => Item,
) => {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  const cursor = last && `${timeOf(last).getTime()} ${last.id}`
  return {
    items: items.map(toItem),
    next_cursor: rows.length > limit && cursor ? Buffer.from(cursor).toString('base64url') : null,
  }
}
