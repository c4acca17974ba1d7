import { Problem } from '../errors/problem.ts'
import { PASTED_FAULTS, type PastedFault } from '../pasted/faults.ts'
import { type PastedSecret, readPasted } from '../pasted/read-pasted.ts'

type Pasted = {
  value: string
  /** @throws {Problem} invalid_request: the text came with the address of another server than this one */
  requireServer(baseUrl: string): void
}

/** The secret in a field, without what came along. @throws {Problem} invalid_request; never with what was in it */
export const requirePasted = (field: string, text: string, what: PastedSecret = 'token'): Pasted => {
  const reading = readPasted(text, what)
  if ('fault' in reading) throw pastedProblem(field, reading.fault)
  const { value, hosts } = reading
  return {
    value,
    requireServer(baseUrl) {
      const server = URL.parse(baseUrl)?.hostname
      if (server !== undefined && hosts.length > 0 && !hosts.includes(server))
        throw pastedProblem(field, 'other_server')
    },
  }
}

const pastedProblem = (field: string, reason: PastedFault): Problem => {
  const message = PASTED_FAULTS[reason]
  return new Problem('invalid_request', `${field} ${message}.`, { errors: [{ field, message, reason }] })
}
