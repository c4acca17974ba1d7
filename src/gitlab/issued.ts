/** Reads what came with a token that GitLab issued. Tolerant: the token counts, whatever else the answer says. Pure. */

/** GitLab's shortest setting for the life of an OAuth token (admin area, "OAuth access token expiry"). */
const SHORTEST_LIFE_SECONDS = 300
/** Longer than any limit of GitLab (400 days): such a number is nonsense. */
const LONGEST_LIFE_SECONDS = 500 * 86_400
const PRINTABLE = /^[\x21-\x7e]+$/
const LONGEST_TOKEN = 16_384
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]{1,255}$/
const MOST_SCOPES = 100

/** Printable ASCII (RFC 6750, section 2.1): anything else cannot be sent in a header. */
export const isToken = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= LONGEST_TOKEN && PRINTABLE.test(value)

/**
 * Seconds that a token lives. A number in text is a number. Zero, a negative and an absurd number tell nothing: the
 * shortest life that GitLab gives is assumed.
 * @returns null when the answer does not say: the token does not expire.
 */
export const readLifetime = (value: unknown): number | null => {
  if (value === undefined || value === null) return null
  const seconds = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  return typeof seconds === 'number' && seconds >= 1 && seconds <= LONGEST_LIFE_SECONDS
    ? Math.floor(seconds)
    : SHORTEST_LIFE_SECONDS
}

/**
 * The first instant at which an access token no longer works: 00:00 UTC on its date. A time behind the date is ignored.
 * @returns null when there is no date, or none that can be read.
 */
export const readEndDate = (value: unknown): Date | null => {
  const [, date] =
    typeof value === 'string' ? (/^\s*(\d{4}-\d{2}-\d{2})(?:[T ].*)?\s*$/.exec(value) ?? []) : []
  const end = new Date(`${date}T00:00:00Z`)
  // 30 February is no date, and V8 reads it as 2 March.
  return Number.isNaN(end.getTime()) || end.toISOString().slice(0, 10) !== date ? null : end
}

/** Scopes as a list, or separated by blanks (RFC 6749, section 3.3). What is no scope is left out. */
export const readScopes = (value: unknown): string[] | undefined => {
  const list = typeof value === 'string' ? value.split(/\s+/) : Array.isArray(value) ? value : undefined
  const scopes = list?.filter((scope) => typeof scope === 'string' && SCOPE.test(scope)).slice(0, MOST_SCOPES)
  return scopes && scopes.length > 0 ? (scopes as string[]) : undefined
}
