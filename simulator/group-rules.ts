import type { Group, Project, User } from './people.ts'
import { apiRefusal, type Refusal } from './refusal.ts'

type Place = Group | Project

const isAtOrBelow = (place: Place, path: string): boolean =>
  `${place.fullPath}/`.toLowerCase().startsWith(`${path}/`.toLowerCase())

/** Rules of top-level groups that keep a good token out. */
export const createGroupRules = () => {
  const sso = new Set<string>()
  const addresses = new Map<string, 403 | 404>()
  const matching = (paths: Iterable<string>, place: Place) =>
    [...paths].find((path) => isAtOrBelow(place, path))

  return {
    /** Git of people needs a session of the group's single sign-on; bots and service accounts are exempt. */
    requireSso: (path: string): void => void sso.add(path),
    /** The group admits listed addresses only, and none of ours. GitLab hides it, or says so. */
    restrictAddresses: (path: string, status: 403 | 404 = 403): void => void addresses.set(path, status),
    clear(): void {
      sso.clear()
      addresses.clear()
    },
    /** The text of the Git endpoint; undefined = no rule refuses. */
    refusedByGit(place: Place, user: User, baseUrl: string): { status: number; text: string } | undefined {
      const restricted = matching(addresses.keys(), place)
      if (restricted !== undefined)
        return addresses.get(restricted) === 404
          ? {
              status: 404,
              text: "The project you were looking for could not be found or you don't have permission to view it.",
            }
          : { status: 403, text: 'Your IP address is not allowed to access this group.' }
      const group = user.bot ? undefined : matching(sso, place)
      if (group === undefined) return undefined
      const link = `${baseUrl}/groups/${group}/-/saml?token=FAKEdiscoverytoken`
      return {
        status: 403,
        text: `Cannot find valid SSO session. Please login via your group's SSO at ${link}`,
      }
    },
    refusedByApi(place: Place): Refusal | undefined {
      const restricted = matching(addresses.keys(), place)
      if (restricted === undefined) return undefined
      return addresses.get(restricted) === 404
        ? apiRefusal(404, `404 ${place.kind === 'group' ? 'Group' : 'Project'} Not Found`)
        : apiRefusal(403, '403 Forbidden - Your IP address is not allowed to access this group.')
    },
  }
}
