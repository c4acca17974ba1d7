import type { StoredIssuerRule } from '../db/tables.ts'

/** Which rule of a trusted issuer a token falls under. Pure: no I/O. */

/** A pattern, or some of which one has to match. */
export type ClaimPattern = string | string[]

/** A claim that is longer matches nothing. */
const LONGEST_CLAIM = 2_000

/** The places in a pattern from which matching can go on: a star may stand for nothing. */
const withSkippedStars = (places: Set<number>, parts: string[]): Set<number> => {
  for (const place of places) if (parts[place]?.startsWith('*')) places.add(place + 1)
  return places
}

/**
 * Whether a pattern matches the whole of a text: `*` stands for any characters but `/`, `**` for any. Upper and lower
 * case differ. Every place that the pattern may be at is followed at once, so that no pattern takes longer than its
 * length times that of the text, as a regular expression would.
 */
export const matchesGlob = (text: string, pattern: string): boolean => {
  if (text.length > LONGEST_CLAIM) return false
  const parts = pattern.match(/\*\*|\*|[^*]/gu) ?? []
  let places = withSkippedStars(new Set([0]), parts)
  for (const character of text) {
    const next = new Set<number>()
    for (const place of places) {
      const part = parts[place]
      if (part === '**' || (part === '*' && character !== '/')) next.add(place)
      else if (part === character) next.add(place + 1)
    }
    places = withSkippedStars(next, parts)
  }
  return places.has(parts.length)
}

/** A claim by its name; by a JSON pointer (RFC 6901) such as `/kubernetes.io/namespace` when it lies deeper. */
const readClaim = (claims: object, name: string): unknown => {
  if (!name.startsWith('/')) return Object.hasOwn(claims, name) ? claims[name as keyof object] : undefined
  let value: unknown = claims
  for (const token of name.slice(1).split('/')) {
    const member = token.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, member)) return undefined
    value = value[member as keyof object]
  }
  return value
}

const SCALARS = ['string', 'number', 'boolean']

/** A claim with several values matches with one of them. */
const textsOf = (claim: unknown): string[] =>
  [claim].flat().flatMap((value) => (SCALARS.includes(typeof value) ? [String(value)] : []))

const isMet = (claims: object, [name, pattern]: [string, ClaimPattern]): boolean =>
  textsOf(readClaim(claims, name)).some((text) => [pattern].flat().some((one) => matchesGlob(text, one)))

/** The first rule all of whose claims the token has. */
export const findRule = (rules: StoredIssuerRule[], claims: object): StoredIssuerRule | undefined =>
  rules.find((rule) => Object.entries(rule.claims).every((entry) => isMet(claims, entry)))
