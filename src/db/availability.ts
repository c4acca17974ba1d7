import { isServerError, meansUnavailable } from './sqlstate.ts'

/** After the last failure, so many milliseconds without another: then the database counts as back. */
const QUIET_MS = 1_000

export type AvailabilityChange =
  | { available: false; cause: string }
  | { available: true; awaySeconds: number }

export type Trouble = {
  cause: string
  /** SQLSTATE, or the code of a system error. */
  code: string | undefined
  /** By the monotonic clock of this process. */
  at: number
}

/** Whether the database can be used, as its statements show: one change for an outage, however many requests meet it. */
export type Availability = {
  failed(error: unknown): void
  worked(): void
  lastTrouble(): Trouble | undefined
  /** @param listener is called with each change. */
  onChange(listener: (change: AvailabilityChange) => void): void
}

/** Failures on the way to a server: what a socket, a resolver or TLS says, and the driver's own words. */
const failuresOnTheWay = new WeakSet<object>()

/** Bugs of a program, which are no failures of a network. */
const isBug = (error: Error): boolean =>
  error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError

/** Marks what a connection to the database threw, unless the server itself said it. @returns the same error. */
export const markOnTheWay = <Thrown>(error: Thrown): Thrown => {
  if (error instanceof Error && !isServerError(error) && !isBug(error)) failuresOnTheWay.add(error)
  return error
}

/** Marks what kept a connection from being opened, whoever said it: a server that turns us away cannot be used. */
export const markNotOpened = <Thrown>(error: Thrown): Thrown => {
  if (error instanceof Error) failuresOnTheWay.add(error)
  return error
}

/** Whether an error means that the database cannot be used at the moment, in contrast to a fault of ours. */
export const isDatabaseUnavailable = (error: unknown): boolean =>
  error instanceof Error && (failuresOnTheWay.has(error) || (isServerError(error) && meansUnavailable(error)))

/** Code and message. A host name with two addresses fails twice, and the whole then has no message of its own. */
export const causeOf = (error: unknown): string => {
  if (error instanceof AggregateError && error.errors.length > 0)
    return [...new Set(error.errors.map(causeOf))].join('; ')
  const { code, message } = error as { code?: unknown; message?: unknown }
  return [code, message].filter((part) => typeof part === 'string' && part !== '').join(': ')
}

const toTrouble = (error: unknown): Trouble => {
  const { code } = (error instanceof AggregateError ? error.errors[0] : error) as { code?: unknown }
  return { cause: causeOf(error), code: typeof code === 'string' ? code : undefined, at: performance.now() }
}

export const createAvailability = (): Availability => {
  const listeners: ((change: AvailabilityChange) => void)[] = []
  /** When it went away, by the monotonic clock; undefined = it is there. */
  let awaySince: number | undefined
  let last: Trouble | undefined
  const tell = (change: AvailabilityChange) => {
    for (const listener of listeners) listener(change)
  }
  return {
    failed(error) {
      if (!isDatabaseUnavailable(error)) return
      last = toTrouble(error)
      if (awaySince !== undefined) return
      awaySince = last.at
      tell({ available: false, cause: last.cause })
    },
    worked() {
      if (awaySince === undefined) return
      const now = performance.now()
      if (last && now - last.at < QUIET_MS) return
      const awaySeconds = Math.round((now - awaySince) / 100) / 10
      awaySince = undefined
      tell({ available: true, awaySeconds })
    },
    lastTrouble: () => last,
    onChange(listener) {
      listeners.push(listener)
    },
  }
}
