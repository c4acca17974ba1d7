import { createAccessTokenStore, type NewAccessToken } from './access-token-store.ts'
import type { Clock } from './clock.ts'
import { createDevices } from './device.ts'
import { createEventLog, type WorldEvent } from './events.ts'
import { createGrants, type NewApp } from './grants.ts'
import { createGranularRules } from './granular.ts'
import { createGroupRules } from './group-rules.ts'
import type { Engine } from './iam.ts'
import { createLfsObjects } from './lfs-objects.ts'
import type { Paging } from './paging.ts'
import { createPeople, type Visibility } from './people.ts'
import { createThrottles } from './throttles.ts'
import { createTokenDetails, type TokenState } from './token-details.ts'
import type { UserState } from './user-states.ts'

/** A service account is a bot too, and its tokens are personal ones. */
type NewUser = { username: string; name?: string; email?: string; bot?: boolean }

type NewPlace = { fullPath: string; members?: string[]; visibility?: Visibility }

type WorldOptions = { clock: Clock; accessTokenLifetimeSeconds: number }

/** Everything that this GitLab knows, and the mutators with which a test changes it. */
export const createWorld = ({ clock, accessTokenLifetimeSeconds }: WorldOptions) => {
  const eventLog = createEventLog(clock)
  const people = createPeople(clock.now)
  const grants = createGrants(clock, eventLog, accessTokenLifetimeSeconds)
  const accessTokens = createAccessTokenStore(clock, eventLog, people)
  const throttles = createThrottles(clock)
  const granular = createGranularRules(people)
  const tokenDetails = createTokenDetails(grants, accessTokens)
  return {
    people,
    grants,
    devices: createDevices(clock),
    accessTokens,
    /** What this version of GitLab has; a test may take it away. */
    features: { associations: true, paging: { headers: 'all', mostPerPage: 100 } as Paging },
    /**
     * The newer auth service: how it refuses the reuse of a refresh token (older versions with 401), whether it is away, and
     * whether an access token ends with its refresh token or lives to its own end.
     */
    iam: {
      reuse: 'invalid_grant' as 'invalid_grant' | 'token_inactive',
      isAway: false,
      revokesAccessTokens: true,
    },
    /** Append only: what happened to every token, without the tokens. */
    events: eventLog.all as readonly WorldEvent[],
    recordEvent: eventLog.record,

    addApp: (app: NewApp): void => grants.addApp(app),
    removeApp: (clientId: string): void => grants.removeApp(clientId),
    setEngine: (clientId: string, engine: Engine): void => grants.setEngine(clientId, engine),
    changeAppSecret: (clientId: string, secret: string): void => grants.changeAppSecret(clientId, secret),
    addUser: (user: NewUser): { id: number } => ({ id: people.addUser(user).id }),
    blockUser: (username: string): void => people.setState(username, 'blocked'),
    unblockUser: (username: string): void => people.setState(username, 'active'),
    setUserState: (username: string, state: UserState): void => people.setState(username, state),
    lfs: createLfsObjects(),
    throttles,
    rules: {} as { maximumLifetimeInDays?: number; fineGrainedOnly?: boolean },
    granular,
    groupRules: createGroupRules(),
    addGroup: (group: NewPlace): { id: number } => ({ id: people.addGroup(group).id }),
    addProject: (project: NewPlace): { id: number } => ({ id: people.addProject(project).id }),
    createAccessToken(wanted: NewAccessToken): { token: string; id: number } {
      const { token, id } = accessTokens.create(wanted)
      return { token, id }
    },
    /** A grant made without the browser. */
    issueOAuthToken(wanted: { username: string; clientId: string; scopes: string[] }) {
      if (!grants.findApp(wanted.clientId)) throw new Error(`there is no OAuth app ${wanted.clientId}`)
      const pair = grants.issue(people.user(wanted.username), wanted.clientId, wanted.scopes)
      const { accessToken, refreshToken, expiresInSeconds, createdAt, grantId } = pair
      return { accessToken, refreshToken, expiresIn: expiresInSeconds, createdAt, grantId }
    },
    /** As when the person or an administrator revokes it in GitLab; either half of an OAuth pair will do. */
    revokeToken(token: string): void {
      const accessToken = accessTokens.find(token)
      const pair = grants.findByAccessToken(token) ?? grants.findByRefreshToken(token)
      if (accessToken) accessTokens.revoke(accessToken, 'revoked_in_gitlab')
      else if (pair) grants.revoke(pair, 'revoked_in_gitlab')
      else throw new Error('there is no such token')
    },
    tokenDetails,
    tokenState: (token: string): TokenState => tokenDetails(token)?.state ?? 'unknown',
  }
}

export type World = ReturnType<typeof createWorld>
