import type { GitLabHttpClient, GitLabRequest, GitLabResult } from './http-client.ts'

const MOVED = [301, 302, 307, 308]

/**
 * Reads what may have been renamed or moved: GitLab answers with a redirect to where it is now. One redirect is followed,
 * and only within the API of the same server; anything else would carry the token elsewhere.
 */
export const sendFollowing = async (
  client: GitLabHttpClient,
  request: GitLabRequest & { method?: never },
): Promise<GitLabResult> => {
  const answer = await client.send(request)
  if (answer.kind !== 'answer' || !MOVED.includes(answer.status)) return answer
  const path = pathBelow(client.baseUrl, request.path, answer.headers.location)
  return path === undefined ? answer : client.send({ ...request, path })
}

/** The path and query below the base URL; undefined = it leads away from the API there. */
const pathBelow = (baseUrl: string, from: string, location: string | undefined): string | undefined => {
  if (location === undefined || !URL.canParse(location, baseUrl + from)) return undefined
  const base = new URL(baseUrl)
  const to = new URL(location, baseUrl + from)
  const root = base.pathname.replace(/\/$/, '')
  const isOurs = to.origin === base.origin && to.username === '' && to.password === ''
  if (!isOurs || !to.pathname.startsWith(`${root}/api/v4/`)) return undefined
  return to.pathname.slice(root.length) + to.search
}
