import { EVERY_ORGANIZATION } from '../callers/principal.ts'

/** The organization whose record an act on a key belongs to: a key of several concerns them all. */
export const onlyOrganization = ([first, ...more]: string[]): string | undefined =>
  more.length > 0 || first === EVERY_ORGANIZATION ? undefined : first
