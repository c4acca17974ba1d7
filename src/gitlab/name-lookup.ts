import { lookup as systemLookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { bulkhead } from 'cockatiel'
import { coalesce } from '../coalesce.ts'

/**
 * The system's resolver takes a thread for as long as a name server says nothing, and nobody can take the thread back.
 * libuv gives it half of its threads, which are four: two names that no server answers for would hold up all others.
 */

type Found = Parameters<Parameters<LookupFunction>[2]>
type Name = { hostname: string; options: Parameters<LookupFunction>[1] }

const ask = (lookup: LookupFunction, { hostname, options }: Name): Promise<Found> =>
  new Promise((resolve) => {
    lookup(hostname, options, (...found) => resolve(found))
  })

/** Who asks for a name that is being looked up gets the same answer. */
const shareLookups = (find: (name: Name) => Promise<Found>): LookupFunction => {
  const findOnce = coalesce(find, ({ hostname, options }) =>
    JSON.stringify([hostname.toLowerCase(), options]),
  )
  return (hostname, options, callback) => {
    void findOnce({ hostname, options }).then((found) => callback(...found))
  }
}

/** Servers that nobody has registered: any caller can name them. */
const STRANGERS_AT_ONCE = 1
const STRANGERS_WAITING = 20

const tooMany = (): Found => {
  const error: NodeJS.ErrnoException = new Error('Too many names wait to be looked up')
  error.code = 'EAI_AGAIN'
  return [error, '']
}

export type NameLookups = {
  /** Each name once at a time. */
  known: LookupFunction
  /** One name after the other. */
  strangers: LookupFunction
}

export const createNameLookups = (lookup: LookupFunction): NameLookups => {
  const turns = bulkhead(STRANGERS_AT_ONCE, STRANGERS_WAITING)
  return {
    known: shareLookups((name) => ask(lookup, name)),
    strangers: shareLookups((name) => turns.execute(() => ask(lookup, name)).catch(tooMany)),
  }
}

/** Of this process. */
export const systemLookups = createNameLookups(systemLookup as LookupFunction)
