import type { Group, People, Project, User } from './people.ts'

type BaseUrl = () => string

const parentIn = (people: People, place: Group | Project): Group | undefined =>
  place.parentPath === undefined ? undefined : people.findGroup(place.parentPath)

const longName = (place: Group | Project): string => place.fullPath.split('/').join(' / ')

/** The group or the user that a project lies in. */
const namespaceOf = (people: People, baseUrl: BaseUrl, project: Project) => {
  const group = parentIn(people, project)
  const path = project.parentPath ?? ''
  if (group) {
    const { id, name, path, fullPath } = group
    return {
      id,
      name,
      path,
      kind: 'group',
      full_path: fullPath,
      parent_id: parentIn(people, group)?.id ?? null,
      avatar_url: null,
      web_url: `${baseUrl()}/groups/${fullPath}`,
    }
  }
  const owner = people.findUser(path)
  return {
    // Users and groups share one row of ids in GitLab; here they do not, so a user's namespace gets one of its own.
    id: 1_000_000 + (owner?.id ?? 0),
    name: owner?.name ?? path,
    path,
    kind: 'user',
    full_path: path,
    parent_id: null,
    avatar_url: null,
    web_url: `${baseUrl()}/${path}`,
  }
}

/** What GitLab says of a project wherever it names one. */
const shortProject = (project: Project) => ({
  id: project.id,
  description: null,
  name: project.name,
  name_with_namespace: longName(project),
  path: project.path,
  path_with_namespace: project.fullPath,
  created_at: new Date(project.createdAt).toISOString(),
})

/** How GitLab writes users, groups and projects in JSON. */
export const createPresenter = (people: People, baseUrl: BaseUrl) => {
  const parentOf = (place: Group | Project) => parentIn(people, place)
  const namespace = (project: Project) => namespaceOf(people, baseUrl, project)
  const groupUrl = (group: Group) => `${baseUrl()}/groups/${group.fullPath}`

  return {
    user: ({ id, username, name, state, email, bot }: User) => ({
      id,
      username,
      name,
      state,
      locked: false,
      avatar_url: null,
      web_url: `${baseUrl()}/${username}`,
      email,
      commit_email: email,
      bot,
    }),
    group: (group: Group) => ({
      id: group.id,
      web_url: groupUrl(group),
      name: group.name,
      path: group.path,
      description: '',
      visibility: group.visibility,
      full_name: longName(group),
      full_path: group.fullPath,
      created_at: new Date(group.createdAt).toISOString(),
      parent_id: parentOf(group)?.id ?? null,
    }),
    project: (project: Project) => ({
      ...shortProject(project),
      default_branch: project.defaultBranch,
      ssh_url_to_repo: `git@${new URL(baseUrl()).hostname}:${project.fullPath}.git`,
      http_url_to_repo: `${baseUrl()}/${project.fullPath}.git`,
      web_url: `${baseUrl()}/${project.fullPath}`,
      namespace: namespace(project),
      archived: project.archived,
      empty_repo: false,
      visibility: project.visibility,
      last_activity_at: new Date(project.lastActivityAt).toISOString(),
    }),
    /** What `statistics=true` adds. */
    statistics: ({ repositorySize }: Project) => ({
      statistics: { commit_count: 1, storage_size: repositorySize, repository_size: repositorySize },
    }),
    associatedGroup: (group: Group, level: number) => ({
      id: group.id,
      web_url: groupUrl(group),
      name: group.name,
      parent_id: parentOf(group)?.id ?? null,
      organization_id: 1,
      access_levels: level || null,
      visibility: group.visibility,
    }),
    associatedProject: (project: Project, member: User) => ({
      ...shortProject(project),
      access_levels: {
        project_access_level: project.members.get(member.id) ?? null,
        group_access_level: parentOf(project)
          ? people.accessLevel(member, parentOf(project) as Group) || null
          : null,
      },
      visibility: project.visibility,
      web_url: `${baseUrl()}/${project.fullPath}`,
      namespace: namespace(project),
    }),
  }
}

export type Presenter = ReturnType<typeof createPresenter>
