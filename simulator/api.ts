import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { authenticate, type Caller, requirePermission } from './authentication.ts'
import { isTooDeep, type Pager, pageByKeyset, pageByOffset } from './paging.ts'
import type { Group, Project } from './people.ts'
import type { Presenter } from './places.ts'
import { apiRefusal, Refusal } from './refusal.ts'
import type { World } from './world.ts'

const READ_USER = ['api', 'read_api', 'read_user']
const READ_API = ['api', 'read_api']
const VERSION = { version: '18.5.0-ee', revision: 'f4ke5imu1at0r' }

type Query = Record<string, string>
export type ApiContext = { world: World; present: Presenter; basePath: string; baseUrl: () => string }

export const pagerOf = (
  { world, basePath, baseUrl }: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Pager => ({
  request,
  reply,
  basePath,
  paging: world.features.paging,
  baseUrl: baseUrl(),
})

const byName = (left: Group, right: Group) => (left.name < right.name ? -1 : 1)

const isBelow = (place: { fullPath: string }, group: Group) =>
  place.fullPath.toLowerCase().startsWith(`${group.fullPath.toLowerCase()}/`)

/** GitLab names what has moved by its id. */
const movedTo = (request: FastifyRequest, { kind, id }: Group | Project): Refusal => {
  const location = request.url.replace(/\/(groups|projects)\/[^/?]+/, `/${kind}s/${id}`)
  return new Refusal(301, { message: 'This resource has been moved permanently' }, { location })
}

// What a person may not see is answered as if it did not exist.
const groupOf = ({ people, groupRules }: World, request: FastifyRequest, caller: Caller): Group => {
  const group = people.findGroup((request.params as { id: string }).id)
  const moved = group ? undefined : people.findMoved('group', (request.params as { id: string }).id)
  if (moved && people.canSee(caller.user, moved)) throw movedTo(request, moved)
  if (!group || !people.canSee(caller.user, group)) throw apiRefusal(404, '404 Group Not Found')
  const ruled = groupRules.refusedByApi(group)
  if (ruled) throw ruled
  return group
}

/** Whether a list shows a project to the caller, by what the query says. */
const listedFor = ({ people }: World, { user }: Caller, query: Query): ((project: Project) => boolean) => {
  const level = Number(query.min_access_level ?? (query.membership === 'true' ? 1 : 0))
  const search = query.search?.toLowerCase()
  const activeAfter = query.last_activity_after && Date.parse(query.last_activity_after)
  return (project) =>
    (level > 0 ? people.accessLevel(user, project) >= level : people.canSee(user, project)) &&
    (search === undefined || project.fullPath.toLowerCase().includes(search)) &&
    (query.visibility === undefined || project.visibility === query.visibility) &&
    (query.archived === undefined || String(project.archived) === query.archived) &&
    (!activeAfter || project.lastActivityAt > activeAfter)
}

/** Without the default branch where the account may not read the code. */
const shownTo =
  ({ world, present }: ApiContext, { user }: Caller) =>
  (project: Project) => {
    const { default_branch, ...shown } = present.project(project)
    return world.people.mayReadCode(user, project) ? { ...shown, default_branch } : shown
  }

function* filtered<T>(items: Iterable<T>, isListed: (item: T) => boolean): Generator<T> {
  for (const item of items) if (isListed(item)) yield item
}

const inOrder = (query: Query) => (left: Project, right: Project) => {
  const sign = query.sort === 'asc' ? 1 : -1
  const difference =
    query.order_by === 'last_activity_at' ? left.lastActivityAt - right.lastActivityAt : left.id - right.id
  return sign * (difference || left.id - right.id)
}

const refuseDeep = (query: Query): void => {
  if (isTooDeep(query))
    throw apiRefusal(
      405,
      'Offset pagination has a maximum allowed offset of 50000 for requests that return objects of type Project. Remaining records can be retrieved using keyset pagination.',
    )
}

const groupRoutes = (app: FastifyInstance, context: ApiContext): void => {
  const { world, present } = context
  const { people } = world

  app.get('/api/v4/groups', async (request, reply) => {
    const { user } = requirePermission(world, authenticate(world, request, READ_API), 'read_group', 'user')
    const query = request.query as Query
    const level = Number(query.min_access_level ?? 0)
    const search = query.search?.toLowerCase()
    const found = [...people.groups()].filter(
      (group) =>
        (level > 0 ? people.accessLevel(user, group) >= level : people.canSee(user, group)) &&
        (query.top_level_only !== 'true' || group.parentPath === undefined) &&
        (search === undefined || group.fullPath.toLowerCase().includes(search)),
    )
    found.sort(query.order_by === 'id' ? (left, right) => left.id - right.id : byName)
    return pageByOffset(pagerOf(context, request, reply), found).map(present.group)
  })

  app.get('/api/v4/groups/:id', async (request) => {
    const caller = authenticate(world, request, READ_API)
    const group = groupOf(world, request, caller)
    requirePermission(world, caller, 'read_group', group)
    return present.group(group)
  })

  app.get('/api/v4/groups/:id/projects', async (request, reply) => {
    const caller = authenticate(world, request, READ_API)
    const group = groupOf(world, request, caller)
    requirePermission(world, caller, 'read_project', group)
    const query = request.query as Query
    const inGroup = [...people.projects()].filter((project) =>
      query.include_subgroups === 'true' ? isBelow(project, group) : project.parentPath === group.fullPath,
    )
    refuseDeep(query)
    const found = inGroup.filter(listedFor(world, caller, query)).sort(inOrder(query))
    return pageByOffset(pagerOf(context, request, reply), found).map(shownTo(context, caller))
  })
}

const projectRoutes = (app: FastifyInstance, context: ApiContext): void => {
  const { world, present, baseUrl } = context
  const { people } = world

  app.get('/api/v4/projects', async (request, reply) => {
    const caller = requirePermission(world, authenticate(world, request, READ_API), 'read_project', 'user')
    const query = request.query as Query
    const isListed = listedFor(world, caller, query)
    const pager = pagerOf(context, request, reply)
    const shown = shownTo(context, caller)
    const show = (project: Project) => ({
      ...shown(project),
      ...(query.statistics === 'true' ? present.statistics(project) : {}),
    })
    if (query.pagination === 'keyset') {
      if (query.order_by !== 'id')
        throw apiRefusal(405, 'Keyset pagination is not yet available for this type of request')
      return pageByKeyset(pager, (id, order) => filtered(people.projectsBeyond(id, order), isListed)).map(
        show,
      )
    }
    refuseDeep(query)
    return pageByOffset(pager, [...people.projects()].filter(isListed).sort(inOrder(query))).map(show)
  })

  app.get('/api/v4/projects/:id', async (request) => {
    const caller = authenticate(world, request, READ_API)
    const project = people.findProject((request.params as { id: string }).id)
    const moved = project ? undefined : people.findMoved('project', (request.params as { id: string }).id)
    if (moved && people.canSee(caller.user, moved)) throw movedTo(request, moved)
    if (!project || !people.canSee(caller.user, project)) throw apiRefusal(404, '404 Project Not Found')
    const ruled = world.groupRules.refusedByApi(project)
    if (ruled) throw ruled
    requirePermission(world, caller, 'read_project', project)
    const direct = project.members.get(caller.user.id)
    const highest = people.accessLevel(caller.user, project)
    const asAccess = (level: number | undefined) =>
      level ? { access_level: level, notification_level: 3 } : null
    const permissions = {
      project_access: asAccess(direct),
      group_access: asAccess(direct ? undefined : highest),
    }
    return {
      ...shownTo(context, caller)(project),
      ...((request.query as Query).statistics === 'true' ? present.statistics(project) : {}),
      permissions,
      _links: { self: `${baseUrl()}/api/v4/projects/${project.id}` },
    }
  })
}

export const apiRoutes = (app: FastifyInstance, context: ApiContext): void => {
  const { world, present } = context
  app.get('/api/v4/user', async (request) => {
    const caller = authenticate(world, request, READ_USER)
    return present.user(requirePermission(world, caller, 'read_user', 'user').user)
  })

  const metadata = async (request: FastifyRequest) => {
    requirePermission(world, authenticate(world, request, READ_USER), 'read_instance_metadata', 'instance')
    return { ...VERSION, kas: { enabled: false, externalUrl: null, version: null }, enterprise: true }
  }
  app.get('/api/v4/metadata', metadata)
  app.get('/api/v4/version', metadata)

  groupRoutes(app, context)
  projectRoutes(app, context)
}
