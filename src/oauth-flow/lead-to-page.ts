import { resultUrl } from '../connect-sessions/connect-session.ts'
import { requireLink } from '../connect-sessions/find-link.ts'
import type { Database } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import { requireApp } from './authorization-app.ts'
import { requireMethod } from './begin-request.ts'

type Deps = { db: Database; clock(): number; publicUrl: string }

/**
 * Where the address `/oauth/{slug}/start?session=` leads: to the page, which says what is asked for. It starts nothing.
 * @param open opens the link in the browser. @returns the path of the page that shows it.
 * @throws {Problem} not_found
 */
export const leadToPage = async (
  { db, clock, publicUrl }: Deps,
  slug: string,
  sessionToken: string,
  open: (sessionToken: string) => Promise<string>,
): Promise<string> => {
  await requireApp(db, { slug })
  try {
    const { session } = await requireLink(db, { token: sessionToken }, new Date(clock()))
    requireMethod(session, 'oauth')
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return resultUrl({ status: 'failed', code: error.code }, publicUrl, null)
  }
  return publicUrl + (await open(sessionToken))
}
