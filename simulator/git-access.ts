import type { FastifyRequest } from 'fastify'
import type { AccessToken } from './access-token-store.ts'
import { decodeBasic, isPairRevoked } from './authentication.ts'
import type { Project, User } from './people.ts'
import { Refusal } from './refusal.ts'
import { includesAny } from './scopes.ts'
import type { World } from './world.ts'

export type Service = 'git-upload-pack' | 'git-receive-pack'
type Identity = { user: User; scopes: readonly string[] }

const DOWNLOAD = ['api', 'read_api', 'read_repository', 'write_repository']
const UPLOAD = ['api', 'write_repository']

export const plain = (status: number, text: string, headers: Record<string, string> = {}): Refusal =>
  new Refusal(status, text, { 'content-type': 'text/plain; charset=utf-8', ...headers })

export const notFound = () =>
  plain(404, "The project you were looking for could not be found or you don't have permission to view it.")

const accessDenied = (baseUrl: string): Refusal =>
  plain(
    401,
    `HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or you're required to use a token instead of a password. If a token was provided, it was either incorrect, expired, or improperly scoped. See ${baseUrl}/help/topics/git/troubleshooting_git.md#error-on-git-fetch-http-basic-access-denied`,
    { 'www-authenticate': 'Basic realm="GitLab"' },
  )

/** Any name that is not blank will do: the token says who it is. */
const identify = (world: World, [name, token]: [string, string]): Identity | undefined => {
  if (name.trim() === '') return undefined
  const accessToken = world.accessTokens.find(token)
  if (accessToken && world.accessTokens.isActive(accessToken)) {
    world.accessTokens.touch(accessToken)
    return accessToken
  }
  const pair = world.grants.findByAccessToken(token)
  // An OAuth token that opens no repository at all does not even sign in; an access token does, and gets 403.
  return pair &&
    !isPairRevoked(world, pair) &&
    !world.grants.isExpired(pair) &&
    includesAny(pair.scopes, DOWNLOAD)
    ? pair
    : undefined
}

/** Throws what GitLab refuses; asked anew for each request, so a token that dies in mid-clone ends it. */
export const checkAccess = (
  world: World,
  request: FastifyRequest,
  project: Project | undefined,
  service: Service,
  baseUrl: string,
): User | undefined => {
  const { canSee, accessLevel } = world.people
  const credentials = decodeBasic(request.headers.authorization)
  if (!credentials) {
    if (service === 'git-upload-pack' && project?.visibility === 'public') return undefined
    throw accessDenied(baseUrl)
  }
  const identity = identify(world, credentials)
  if (identity?.user.state !== 'active') throw accessDenied(baseUrl)
  const visible = project !== undefined && canSee(identity.user, project)
  if (!visible && project && identity.user.bot) throw accessDenied(baseUrl)
  if (!visible) throw notFound()
  const ruled = world.groupRules.refusedByGit(project, identity.user, baseUrl)
  if (ruled && project.visibility !== 'public') throw plain(ruled.status, ruled.text)
  const token = 'granular' in identity ? (identity as AccessToken) : undefined
  const denied =
    token &&
    world.granular.denial(token, service === 'git-upload-pack' ? 'download_code' : 'push_code', project)
  // What is public is served to everybody, whatever the token may.
  if (denied && !(service === 'git-upload-pack' && project.visibility === 'public' && token.granular))
    throw plain(403, denied)
  if (token?.granular) return identity.user
  if (service === 'git-upload-pack' && !includesAny(identity.scopes, DOWNLOAD)) {
    throw plain(403, 'You are not allowed to download code.')
  }
  if (service === 'git-upload-pack' && !world.people.mayReadCode(identity.user, project)) {
    throw plain(403, 'You are not allowed to download code from this project.')
  }
  if (service === 'git-receive-pack' && !includesAny(identity.scopes, UPLOAD)) {
    throw plain(403, 'You are not allowed to upload code.')
  }
  if (service === 'git-receive-pack' && accessLevel(identity.user, project) === 0) {
    throw plain(403, 'You are not allowed to push code to this project.')
  }
  return identity.user
}
