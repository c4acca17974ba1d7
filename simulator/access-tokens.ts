import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type AccessToken, MAXIMUM_LIFETIME_IN_DAYS } from './access-token-store.ts'
import { type ApiContext, pagerOf } from './api.ts'
import { authenticate, requirePermission } from './authentication.ts'
import { pageByOffset } from './paging.ts'
import { apiRefusal, Refusal } from './refusal.ts'
import type { World } from './world.ts'

const MAY_ROTATE = ['api', 'self_rotate']
/** Without a date GitLab gives a rotated token one week: callers are better off naming one. */
const ROTATED_LIFETIME_IN_DAYS = 7
const NOT_AN_ACCESS_TOKEN =
  '400 Bad request - This endpoint requires token type to be a personal access token'

const FINE_GRAINED_ONLY = '400 Bad request - Your administrator requires fine-grained personal access tokens'

const presentToken = (world: World, token: AccessToken) => ({
  id: token.id,
  name: token.name,
  revoked: token.revoked,
  created_at: new Date(token.createdAt).toISOString(),
  description: null,
  scopes: token.scopes,
  user_id: token.user.id,
  last_used_at: token.lastUsedAt === undefined ? null : new Date(token.lastUsedAt).toISOString(),
  active: world.accessTokens.isActive(token),
  expires_at: token.expiresAt,
  ...(token.granular && world.granular.tellsScopes
    ? { granular_scopes: world.granular.tell(token.granular) }
    : {}),
})

/** Any scope is enough to ask about, or to revoke, the token itself. */
const ownToken = (world: World, request: FastifyRequest): AccessToken => {
  const caller = authenticate(world, request)
  if (caller.by !== 'access-token') throw apiRefusal(400, NOT_AN_ACCESS_TOKEN)
  if (caller.accessToken.granular && world.granular.selfNeedsPermission)
    requirePermission(world, caller, 'read_personal_access_token', 'user')
  return caller.accessToken
}

const wantedExpiry = (world: World, given: unknown): string => {
  const { dateAfterDays } = world.accessTokens
  if (given === undefined || given === '') return dateAfterDays(ROTATED_LIFETIME_IN_DAYS)
  if (typeof given !== 'string' || !/^\d{4}-\d{2}-\d{2}$/.test(given) || Number.isNaN(Date.parse(given))) {
    throw apiRefusal(400, '400 Bad request - expires_at is invalid')
  }
  if (given <= dateAfterDays(0))
    throw apiRefusal(400, '400 Bad request - Expiration date must be in the future')
  const last = dateAfterDays(world.rules.maximumLifetimeInDays ?? MAXIMUM_LIFETIME_IN_DAYS)
  if (given > last) throw apiRefusal(400, `400 Bad request - Expiration date must be before ${last}`)
  return given
}

export const accessTokenRoutes = (app: FastifyInstance, context: ApiContext): void => {
  const { world, present } = context
  const { people, accessTokens } = world

  app.get('/api/v4/personal_access_tokens/self', async (request) =>
    presentToken(world, ownToken(world, request)),
  )

  app.delete('/api/v4/personal_access_tokens/self', async (request, reply) => {
    accessTokens.revoke(ownToken(world, request), 'revoked_by_itself')
    return reply.code(204).send()
  })

  app.post('/api/v4/personal_access_tokens/self/rotate', async (request) => {
    const caller = authenticate(world, request, MAY_ROTATE, accessTokens.revokeFamily)
    if (caller.by !== 'access-token') throw apiRefusal(405, '405 Method Not Allowed')
    if (caller.accessToken.granular) requirePermission(world, caller, 'rotate_personal_access_token', 'user')
    const given = { ...(request.query as object), ...(request.body as object | undefined) } as {
      expires_at?: unknown
    }
    if (world.rules.fineGrainedOnly && !caller.user.bot) throw apiRefusal(400, FINE_GRAINED_ONLY)
    const rotated = accessTokens.rotate(caller.accessToken, wantedExpiry(world, given.expires_at))
    return { ...presentToken(world, rotated), token: rotated.token }
  })

  app.get('/api/v4/personal_access_tokens/self/associations', async (request, reply) => {
    if (!world.features.associations) throw new Refusal(404, { error: '404 Not Found' })
    const { user } = ownToken(world, request)
    const level = Number((request.query as Record<string, string>).min_access_level ?? 0)
    const reaches = (place: Parameters<typeof people.canSee>[1]) =>
      level > 0 ? people.accessLevel(user, place) >= level : people.canSee(user, place)
    const pager = pagerOf(context, request, reply)
    const projects = pageByOffset(pager, [...people.projects()].filter(reaches))
    const groups = pageByOffset(pager, [...people.groups()].filter(reaches))
    return {
      groups: groups.map((group) => present.associatedGroup(group, people.accessLevel(user, group))),
      projects: projects.map((project) => present.associatedProject(project, user)),
    }
  })
}
