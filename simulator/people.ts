import { randomBytes } from 'node:crypto'
import type { UserState } from './user-states.ts'

export type User = {
  id: number
  username: string
  name: string
  email: string
  state: UserState
  bot: boolean
}

export type Visibility = 'private' | 'public'

type Place = {
  id: number
  fullPath: string
  path: string
  name: string
  parentPath: string | undefined
  visibility: Visibility
  members: Map<number, number>
  /** Members whose custom role lets them read code, whatever their level. */
  codeReaders?: Set<number>
  createdAt: number
}

export type Group = Place & { kind: 'group' }
export type Project = Place & {
  kind: 'project'
  archived: boolean
  defaultBranch: string | null
  lastActivityAt: number
  repositorySize: number
}

/** As when somebody pushes or archives, or GitLab counts anew. */
export type ProjectChanges = Partial<
  Pick<Project, 'archived' | 'defaultBranch' | 'lastActivityAt' | 'repositorySize'>
>

const NEW_PROJECT = { archived: false, defaultBranch: 'main', repositorySize: 4_096 }

const REPORTER = 20
const DEVELOPER = 30
const OWNER = 50

const createUsers = () => {
  const usersByName = new Map<string, User>()
  const usersById = new Map<number, User>()

  const addUser = (wanted: { username: string; name?: string; email?: string; bot?: boolean }): User => {
    const { username } = wanted
    if (usersByName.has(username)) throw new Error(`there is a user ${username} already`)
    const id = usersById.size + 1
    const name = wanted.name ?? username.charAt(0).toUpperCase() + username.slice(1)
    const email = wanted.email ?? `${username}@example.com`
    const user: User = { id, username, name, email, state: 'active', bot: wanted.bot ?? false }
    usersByName.set(username, user)
    usersById.set(id, user)
    return user
  }

  const user = (username: string): User => {
    const found = usersByName.get(username)
    if (!found) throw new Error(`there is no user ${username}`)
    return found
  }

  return {
    addUser,
    user,
    findUser: (username: string) => usersByName.get(username),
    users: () => usersByName.values(),
  }
}

const parentOf = (fullPath: string): string | undefined =>
  fullPath.includes('/') ? fullPath.slice(0, fullPath.lastIndexOf('/')) : undefined

const find = <T extends Place>(
  byPath: Map<string, T>,
  byId: Map<number, T>,
  idOrPath: string,
): T | undefined => (/^\d+$/.test(idOrPath) ? byId.get(Number(idOrPath)) : byPath.get(idOrPath.toLowerCase()))

const createPlaces = ({ user, findUser }: ReturnType<typeof createUsers>, now: () => number) => {
  const groups = new Map<string, Group>()
  const projects = new Map<string, Project>()
  const groupsById = new Map<number, Group>()
  const projectsById = new Map<number, Project>()
  let lastProjectId = 0

  const newPlace = (id: number, fullPath: string, members: string[], visibility: Visibility): Place => {
    const path = fullPath.slice(fullPath.lastIndexOf('/') + 1)
    return {
      id,
      fullPath,
      path,
      name: path,
      parentPath: parentOf(fullPath),
      visibility,
      members: new Map(members.map((username) => [user(username).id, DEVELOPER])),
      createdAt: now(),
    }
  }

  const ancestorsOf = (place: Place): Group[] => {
    const found: Group[] = []
    for (let path = place.parentPath; path !== undefined; path = parentOf(path)) {
      const group = groups.get(path.toLowerCase())
      if (group) found.push(group)
    }
    return found
  }

  // A public group or project cannot lie in a private group, so its ancestors become public with it.
  const openAncestors = (place: Place) => {
    if (place.visibility === 'public') for (const group of ancestorsOf(place)) group.visibility = 'public'
  }

  const addGroup = (wanted: { fullPath: string; members?: string[]; visibility?: Visibility }): Group => {
    const { fullPath, members = [], visibility = 'private' } = wanted
    const known = groups.get(fullPath.toLowerCase())
    if (known) throw new Error(`there is a group ${fullPath} already`)
    const parent = parentOf(fullPath)
    if (parent !== undefined && !groups.has(parent.toLowerCase())) addGroup({ fullPath: parent })
    const group: Group = { kind: 'group', ...newPlace(groups.size + 1, fullPath, members, visibility) }
    groups.set(fullPath.toLowerCase(), group)
    groupsById.set(group.id, group)
    openAncestors(group)
    return group
  }

  const addProject = (wanted: { fullPath: string; members?: string[]; visibility?: Visibility }): Project => {
    const { fullPath, members = [], visibility = 'private' } = wanted
    if (projects.has(fullPath.toLowerCase())) throw new Error(`there is a project ${fullPath} already`)
    const parent = parentOf(fullPath)
    if (parent === undefined) throw new Error(`the project ${fullPath} lies in no group`)
    const owner = findUser(parent)
    if (!owner && !groups.has(parent.toLowerCase())) addGroup({ fullPath: parent })
    const project: Project = {
      kind: 'project',
      ...NEW_PROJECT,
      lastActivityAt: now(),
      ...newPlace(++lastProjectId, fullPath, members, visibility),
    }
    if (owner) project.members.set(owner.id, OWNER)
    projects.set(fullPath.toLowerCase(), project)
    projectsById.set(project.id, project)
    openAncestors(project)
    return project
  }

  return {
    addGroup,
    addProject,
    ancestorsOf,
    ...createMoves({ groups, projects }),
    ...createProjectChanges(projects, projectsById, addProject, () => lastProjectId),
    groups: () => groups.values(),
    projects: () => projects.values(),
    findGroup: (idOrPath: string) => find(groups, groupsById, idOrPath),
    findProject: (idOrPath: string) => find(projects, projectsById, idOrPath),
  }
}

/** What happens to many projects, or to one that is there. */
const createProjectChanges = (
  byPath: Map<string, Project>,
  byId: Map<number, Project>,
  addProject: (wanted: { fullPath: string }) => Project,
  lastIdOf: () => number,
) => {
  const project = (fullPath: string): Project => {
    const found = byPath.get(fullPath.toLowerCase())
    if (!found) throw new Error(`there is no project ${fullPath}`)
    return found
  }
  return {
    /** `<group>/project-1` and so on. */
    addProjects(group: string, count: number): void {
      for (let number = 1; number <= count; number += 1)
        addProject({ fullPath: `${group}/project-${number}` })
    },
    changeProject(fullPath: string, changes: ProjectChanges): void {
      Object.assign(project(fullPath), changes)
    },
    removeProject(fullPath: string): void {
      byId.delete(project(fullPath).id)
      byPath.delete(fullPath.toLowerCase())
    },
    /** By id, upwards or downwards, from beyond an id on: nothing is sorted, however many there are. */
    *projectsBeyond(id: number, { ascending }: { ascending: boolean }): Generator<Project> {
      const lastId = lastIdOf()
      const first = ascending ? Math.max(1, id + 1) : Math.min(lastId, id - 1)
      for (let next = first; next >= 1 && next <= lastId; next += ascending ? 1 : -1) {
        const found = byId.get(next)
        if (found) yield found
      }
    },
  }
}

type Maps = { groups: Map<string, Group>; projects: Map<string, Project> }

/** Renames or transfers groups and projects; what lies below a group comes along. */
const createMoves = ({ groups, projects }: Maps) => {
  const formerPaths = new Map<string, Group | Project>()

  const rename = <T extends Group | Project>(places: Map<string, T>, place: T, fullPath: string): void => {
    formerPaths.set(`${place.kind} ${place.fullPath.toLowerCase()}`, place)
    places.delete(place.fullPath.toLowerCase())
    place.fullPath = fullPath
    place.path = fullPath.slice(fullPath.lastIndexOf('/') + 1)
    place.parentPath = parentOf(fullPath)
    places.set(fullPath.toLowerCase(), place)
  }

  return {
    move(from: string, to: string): void {
      const group = groups.get(from.toLowerCase())
      const project = projects.get(from.toLowerCase())
      if (project) {
        rename(projects, project, to)
        return
      }
      if (!group) throw new Error(`there is nothing at ${from}`)
      const below = ({ fullPath }: Place) => fullPath.toLowerCase().startsWith(`${from.toLowerCase()}/`)
      for (const place of [...groups.values()].filter(below))
        rename(groups, place, to + place.fullPath.slice(from.length))
      for (const place of [...projects.values()].filter(below))
        rename(projects, place, to + place.fullPath.slice(from.length))
      rename(groups, group, to)
    },
    /** What had a path before, and where a redirect leads. */
    findMoved: (kind: 'group' | 'project', path: string) => formerPaths.get(`${kind} ${path.toLowerCase()}`),
  }
}

/** Users, groups and projects, and who reaches what: members reach a group and all below it. */
export const createPeople = (now: () => number) => {
  const users = createUsers()
  const { ancestorsOf, ...places } = createPlaces(users, now)

  /** The bot user behind a group or project access token. */
  const addBot = (place: Group | Project, name: string, { isOld = false } = {}): User => {
    const stem = `${place.kind}_${place.id}_bot`
    // Older servers counted the bots of a place: project_12_bot, project_12_bot1.
    const earlier = [...users.users()].filter(({ username }) => username.startsWith(stem)).length
    const username = isOld ? `${stem}${earlier || ''}` : `${stem}_${randomBytes(16).toString('hex')}`
    const bot = users.addUser({ username, name, email: `${username}@noreply.example.com`, bot: true })
    place.members.set(bot.id, DEVELOPER)
    return bot
  }

  /** 0 when the user is no member of it, or of a group above it. */
  const accessLevel = (member: User, place: Place): number => {
    let level = place.members.get(member.id) ?? 0
    for (const group of ancestorsOf(place)) level = Math.max(level, group.members.get(member.id) ?? 0)
    return level
  }

  const canSee = (member: User | undefined, place: Place): boolean =>
    place.visibility === 'public' || (member !== undefined && accessLevel(member, place) > 0)

  /** Reporters and higher, and guests by a custom role. */
  const mayReadCode = (member: User, project: Project): boolean =>
    project.visibility === 'public' ||
    accessLevel(member, project) >= REPORTER ||
    [project, ...ancestorsOf(project)].some(({ codeReaders }) => codeReaders?.has(member.id))

  return {
    ...users,
    ...places,
    mayReadCode,
    addBot,
    setState(username: string, state: User['state']) {
      users.user(username).state = state
    },
    accessLevel,
    canSee,
  }
}

export type People = ReturnType<typeof createPeople>
