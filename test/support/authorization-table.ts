import { v7 as uuidv7 } from 'uuid'
import { SEEDED_APP } from '../../simulator/seed.ts'
import type { Role } from '../../src/db/tables.ts'
import { connectByOAuth, type Stage } from './broker.ts'
import { type Caller, HOME } from './callers.ts'
import { connectToken } from './connect.ts'
import { createSession } from './oauth.ts'

/**
 * Who may do what: one row for every operation. A new operation needs a row here, and `TAP_SNAPSHOT=1 npm test --
 * test/authorization.test.ts` writes the table of docs/security.md anew.
 */

/** Things to call an operation with, all of the organization `acme`; each call makes a new one. */
export type Fixtures = {
  /** With another token of the same account. */
  connection(): Promise<{ id: string; successor: string }>
  oauthConnection(): Promise<string>
  /** Of the access key, or an admin's. */
  lease(key?: string | null): Promise<string>
  /** Tokens of an account that is connected nowhere. */
  newcomer(): Promise<{ token: string; oauthToken: string }>
  accessKey(): Promise<string>
  trustedIssuer(): Promise<string>
  /** A lease whose token waits behind a handle; of the access key, or an admin's. */
  wrapped(key?: string | null): Promise<{ id: string; handle: string }>
  instance(): Promise<string>
  oauthApp(): Promise<string>
  /** The token of a connect link. */
  link(): Promise<string>
}

export type Call = {
  path?: string
  body?: object
  form?: Record<string, string>
  /** Lines as Git writes them. */
  text?: string
  /** The page from which the form is sent: its hidden fields are taken from what the caller sees there. */
  from?: string
}

/**
 * Within what a caller has to be:
 * - thing: what is outside a key's organizations is 404, as if it did not exist.
 * - list: everyone with the role gets a list, of what lies within.
 * - shared: belongs to all organizations together; takes a key for all.
 */
type Within = 'thing' | 'list' | 'shared' | undefined

export type Row = {
  /** A role: takes an access key. visitor: a connect link or a person signed in. guest: a connect link. member: a person signed in. */
  needs: 'nothing' | Role | 'visitor' | 'guest' | 'member'
  within?: Within
  /** It is for whoever made the thing: nobody reads that of another. */
  isOwn?: boolean
  /** The status for who may; others must not get it, unless `refused` says so. */
  answers: number
  /** The status for a browser without link and sign-in; of pages alone. */
  refused?: number
  /** The status for a browser of another organization; of pages alone. */
  elsewhere?: number
  call?(make: Fixtures, caller: Caller, stage: Stage): Promise<Call>
}

const row = (needs: Row['needs'], answers: number, more: Omit<Row, 'needs' | 'answers'> = {}): Row => ({
  needs,
  answers,
  ...more,
})
const at = (path: string, more: Omit<Call, 'path'> = {}): Call => ({ path, ...more })
const search = (query: Record<string, string>): string => `?${new URLSearchParams(query)}`
const repository = ({ simulator }: Stage) =>
  search({ url: `${simulator.url}/acme/web-shop`, organization: HOME })
const ID = {
  connection: async (make: Fixtures) => (await make.connection()).id,
  oauthConnection: (make: Fixtures) => make.oauthConnection(),
  accessKey: (make: Fixtures) => make.accessKey(),
  trustedIssuer: (make: Fixtures) => make.trustedIssuer(),
  instance: (make: Fixtures) => make.instance(),
  oauthApp: (make: Fixtures) => make.oauthApp(),
}
/** For an operation on one thing: the path with its id in the place of `:id`. */
const on = (path: string, which: keyof typeof ID, more: Omit<Call, 'path'> = {}): Pick<Row, 'call'> => ({
  call: async (make) => at(path.replace(':id', await ID[which](make)), more),
})

export const TABLE: Record<string, Row> = {
  // For anyone.
  'GET /healthz': row('nothing', 200),
  'GET /readyz': row('nothing', 200),
  'GET /openapi.yaml': row('nothing', 200),
  'GET /.well-known/oauth-authorization-server': row('nothing', 200),
  'GET /.well-known/jwks.json': row('nothing', 200),
  'GET /docs': row('nothing', 200),
  'GET /docs*': row('nothing', 404, { call: async () => at('/docs/static/nowhere.js') }),
  'GET /docs/json': row('nothing', 200),
  'GET /docs/yaml': row('nothing', 302),
  'GET /docs/static/index.html': row('nothing', 302),
  'GET /docs/static/swagger-initializer.js': row('nothing', 200),
  'GET /assets/:hash/:file': row('nothing', 200, { call: async () => at('/assets/FAKE/page.css') }),

  // With an access key.
  'GET /v1/instances': row('admin', 200),
  'POST /v1/instances': row('admin', 201, {
    within: 'shared',
    call: async () => ({ body: { base_url: `https://${uuidv7()}.example.com` } }),
  }),
  'GET /v1/instances/:id': row('admin', 200, on('/v1/instances/:id', 'instance')),
  'GET /v1/instances/:id/conditions': row('admin', 200, on('/v1/instances/:id/conditions', 'instance')),
  'PATCH /v1/instances/:id': row('admin', 200, {
    within: 'shared',
    ...on('/v1/instances/:id', 'instance', { body: { name: 'renamed' } }),
  }),
  'DELETE /v1/instances/:id': row('admin', 204, { within: 'shared', ...on('/v1/instances/:id', 'instance') }),
  'GET /v1/whoami': row('scanner', 200),
  'GET /v1/trusted-issuers': row('admin', 200, { within: 'list' }),
  'POST /v1/trusted-issuers': row('admin', 201, {
    within: 'thing',
    call: async () => ({ body: newIssuer() }),
  }),
  'GET /v1/trusted-issuers/:id': row('admin', 200, {
    within: 'thing',
    ...on('/v1/trusted-issuers/:id', 'trustedIssuer'),
  }),
  'DELETE /v1/trusted-issuers/:id': row('admin', 204, {
    within: 'thing',
    ...on('/v1/trusted-issuers/:id', 'trustedIssuer'),
  }),
  'GET /v1/oauth-apps': row('admin', 200),
  'POST /v1/oauth-apps': row('admin', 201, {
    within: 'shared',
    call: async (_make, _caller, { instanceId }) => ({
      body: {
        slug: `app-${uuidv7()}`,
        instance_id: instanceId,
        client_id: 'FAKE',
        client_secret: 'gloas-FAKE',
      },
    }),
  }),
  'GET /v1/oauth-apps/:id': row('admin', 200, on('/v1/oauth-apps/:id', 'oauthApp')),
  'PATCH /v1/oauth-apps/:id': row('admin', 200, {
    within: 'shared',
    ...on('/v1/oauth-apps/:id', 'oauthApp', { body: { scopes: ['read_api'] } }),
  }),
  'DELETE /v1/oauth-apps/:id': row('admin', 204, {
    within: 'shared',
    ...on('/v1/oauth-apps/:id', 'oauthApp'),
  }),
  'GET /v1/access-keys': row('admin', 200, { within: 'list' }),
  'POST /v1/access-keys': row('admin', 201, {
    within: 'thing',
    call: async () => ({ body: { name: 'new', role: 'scanner', organizations: [HOME] } }),
  }),
  'DELETE /v1/access-keys/:id': row('admin', 204, {
    within: 'thing',
    ...on('/v1/access-keys/:id', 'accessKey'),
  }),
  'POST /v1/connect-sessions': row('manager', 201, {
    within: 'thing',
    call: async () => ({ body: { organization: HOME } }),
  }),
  'GET /v1/connect-sessions': row('manager', 200, { within: 'list' }),
  'DELETE /v1/connect-sessions/:id': row('manager', 204, {
    within: 'thing',
    call: async (_make, _caller, { broker }) =>
      at(
        `/v1/connect-sessions/${(await broker.post('/v1/connect-sessions', { organization: HOME })).body.id}`,
      ),
  }),
  'POST /v1/tokens/verify': row('manager', 200, {
    call: async (make, _caller, { simulator }) => ({
      body: { base_url: simulator.url, token: (await make.newcomer()).token },
    }),
  }),
  'GET /v1/connections': row('manager', 200, { within: 'list' }),
  'POST /v1/connections/personal-access-token': row('manager', 201, {
    within: 'thing',
    call: async (make, _caller, { simulator }) => ({
      body: { organization: HOME, base_url: simulator.url, token: (await make.newcomer()).token },
    }),
  }),
  'POST /v1/connections/oauth-token': row('manager', 201, {
    within: 'thing',
    call: async (make, _caller, { simulator }) => ({
      body: { organization: HOME, base_url: simulator.url, access_token: (await make.newcomer()).oauthToken },
    }),
  }),
  'GET /v1/connections/:id': row('manager', 200, {
    within: 'thing',
    ...on('/v1/connections/:id', 'connection'),
  }),
  'GET /v1/projects': row('manager', 200, { within: 'list' }),
  'GET /v1/connections/:id/projects': row('manager', 200, {
    within: 'thing',
    ...on('/v1/connections/:id/projects', 'connection'),
  }),
  'GET /v1/connections/:id/groups': row('manager', 200, {
    within: 'thing',
    ...on('/v1/connections/:id/groups', 'connection'),
  }),
  'GET /v1/connections/:id/sync': row('manager', 200, {
    within: 'thing',
    ...on('/v1/connections/:id/sync', 'connection'),
  }),
  'POST /v1/connections/:id/sync': row('manager', 202, {
    within: 'thing',
    call: async (make, _caller, { broker }) => {
      const { id } = await make.connection()
      // What the call before began goes on in the background.
      await broker.jobs.syncProjects()
      return at(`/v1/connections/${id}/sync`)
    },
  }),
  'PATCH /v1/connections/:id': row('manager', 200, {
    within: 'thing',
    ...on('/v1/connections/:id', 'connection', { body: { name: 'renamed' } }),
  }),
  'DELETE /v1/connections/:id': row('manager', 204, {
    within: 'thing',
    ...on('/v1/connections/:id', 'connection'),
  }),
  'POST /v1/connections/:id/verify': row('manager', 200, {
    within: 'thing',
    ...on('/v1/connections/:id/verify', 'connection'),
  }),
  'POST /v1/connections/:id/refresh': row('manager', 200, {
    within: 'thing',
    ...on('/v1/connections/:id/refresh', 'oauthConnection'),
  }),
  'POST /v1/connections/:id/rotate': row('manager', 200, {
    within: 'thing',
    ...on('/v1/connections/:id/rotate', 'connection'),
  }),
  'PUT /v1/connections/:id/token': row('manager', 200, {
    within: 'thing',
    call: async (make) => {
      const { id, successor } = await make.connection()
      return at(`/v1/connections/${id}/token`, { body: { token: successor } })
    },
  }),
  'GET /v1/connections/:id/credential': row('scanner', 200, {
    within: 'thing',
    ...on('/v1/connections/:id/credential', 'connection'),
  }),
  'GET /v1/credentials': row('scanner', 200, {
    within: 'thing',
    call: async (make, _caller, stage) => {
      await make.connection()
      return at(`/v1/credentials${repository(stage)}`)
    },
  }),
  // Git gets its answer and its refusals alike as lines of a 200.
  'POST /v1/git-credential/get': row('scanner', 200, { within: 'list', call: askedByGit('get') }),
  'POST /v1/git-credential/store': row('scanner', 200, { within: 'list', call: askedByGit('store') }),
  'POST /v1/git-credential/erase': row('scanner', 200, { within: 'list', call: askedByGit('erase') }),
  'POST /v1/credentials/batch': row('scanner', 200, {
    within: 'list',
    call: async (make, _caller, { simulator }) => {
      await make.connection()
      return { body: { requests: [{ url: `${simulator.url}/acme/web-shop`, organization: HOME }] } }
    },
  }),
  'POST /v1/credentials/preflight': row('scanner', 200, {
    within: 'thing',
    call: async (make, _caller, { simulator }) => {
      await make.connection()
      return { body: { url: `${simulator.url}/acme/web-shop`, organization: HOME } }
    },
  }),
  'GET /v1/credentials/explain': row('scanner', 200, {
    within: 'thing',
    call: async (_make, _caller, stage) => at(`/v1/credentials/explain${repository(stage)}`),
  }),
  'GET /v1/audit-events': row('admin', 200, { within: 'list' }),
  'GET /v1/leases': row('admin', 200, { within: 'list' }),
  'GET /v1/leases/:id/receipt': row('scanner', 200, {
    within: 'thing',
    isOwn: true,
    call: async (make, { key }) => at(`/v1/leases/${await make.lease(key)}/receipt`),
  }),
  'DELETE /v1/leases/:id': row('scanner', 204, {
    within: 'thing',
    call: async (make, { key }) => at(`/v1/leases/${await make.lease(key)}`),
  }),
  // Leases outside a key's organizations are named as not found.
  'DELETE /v1/leases': row('scanner', 200, {
    within: 'list',
    call: async (make, { key }) => ({ body: { ids: [(await make.lease(key)) ?? uuidv7()] } }),
  }),
  'POST /v1/leases/:id/extend': row('scanner', 200, {
    within: 'thing',
    isOwn: true,
    call: async (make, { key }) =>
      at(`/v1/leases/${await make.lease(key)}/extend`, { body: { min_ttl: 60 } }),
  }),
  'POST /v1/leases/:id/rejection': row('scanner', 409, {
    within: 'thing',
    call: async (make, { key }) => at(`/v1/leases/${await make.lease(key)}/rejection`),
  }),

  'POST /v1/leases/:id/open': row('scanner', 200, {
    within: 'thing',
    call: async (make, { key }) => {
      const { id, handle } = await make.wrapped(key)
      return at(`/v1/leases/${id}/open`, { body: { handle } })
    },
  }),
  // The token of the workload is the credential: without one, nobody gets anything.
  'POST /v1/token': row('nothing', 400, { call: async () => ({ form: { grant_type: 'none' } }) }),

  // Pages, and the flow through GitLab's.
  'GET /': row('nothing', 200),
  'GET /connect': row('nothing', 200),
  'GET /connect/sign-in': row('nothing', 200),
  'POST /connect/sign-in': row('manager', 303, {
    call: async (_make, { key }) => ({ form: { access_key: key ?? 'none' } }),
  }),
  'POST /connect/sign-out': row('member', 303, { refused: 403, call: fromPage() }),
  'POST /connect/leave': row('guest', 303, { refused: 403, call: fromPage() }),
  // These take a form that only the page before them shows.
  'POST /connect/open': row('nothing', 403),
  'POST /connect/undo': row('nothing', 403),
  'GET /connect/confirm': row('nothing', 410),
  'POST /connect/confirm': row('nothing', 403),
  'POST /connect/decline': row('nothing', 403),
  'POST /connect/verify': row('visitor', 200, { refused: 200, call: fromPage(pasted) }),
  'POST /connect/token': row('visitor', 303, { refused: 403, call: fromPage(pasted) }),
  'POST /connect/oauth-token': row('visitor', 303, {
    refused: 403,
    call: fromPage(async (make, { simulator }) => ({
      oauth_app: 'simulator',
      base_url: simulator.url,
      token: (await make.newcomer()).oauthToken,
    })),
  }),
  'POST /connect/oauth/:slug': row('visitor', 303, {
    refused: 403,
    call: async () => at('/connect/oauth/simulator', { form: {}, from: '/connect' }),
  }),
  'POST /connect/device/:slug': row('visitor', 303, {
    refused: 403,
    call: async () => at('/connect/device/simulator', { form: {}, from: '/connect' }),
  }),
  'GET /connect/device': row('nothing', 410),
  'GET /connect/connections/:id/disconnect': ofMember('disconnect', 200, 401, 404),
  'POST /connect/connections/:id/disconnect': ofMember('disconnect', 303, 403, 403),
  'GET /connect/connections/:id/replace': ofMember('replace', 200, 401, 404),
  'POST /connect/connections/:id/replace': ofMember('replace', 303, 403, 403),
  'GET /connect/connections/:id/rotate': ofMember('rotate', 200, 401, 404),
  'POST /connect/connections/:id/rotate': ofMember('rotate', 303, 403, 403),
  'POST /connect/connections/:id/verify': ofMember('verify', 303, 403, 403),
  'GET /connect/connections/:id/projects': ofMember('projects', 200, 401, 404),
  'POST /connect/connections/:id/sync': ofMember('sync', 303, 403, 403),
  'GET /oauth/:slug/start': row('nothing', 303, {
    call: async (make) => at(`/oauth/simulator/start${search({ session: await make.link() })}`),
  }),
  'GET /oauth/:slug/callback': row('nothing', 303, {
    call: async () => at('/oauth/simulator/callback?code=FAKE&state=FAKE'),
  }),
}

type Filled = (make: Fixtures, stage: Stage) => Promise<Record<string, string>>

/** A form of the page /connect, filled in. */
function fromPage(fill: Filled = async () => ({})): NonNullable<Row['call']> {
  return async (make, _caller, stage) => ({ form: await fill(make, stage), from: '/connect' })
}

async function pasted(make: Fixtures, { simulator }: Stage): Promise<Record<string, string>> {
  return { base_url: simulator.url, token: (await make.newcomer()).token }
}

function ofMember(what: string, answers: number, refused: number, elsewhere: number): Row {
  return row('member', answers, {
    refused,
    elsewhere,
    call: async (make, _caller, { broker }) => {
      const { id, successor } = await make.connection()
      const of = `/connect/connections/${id}`
      // What the call before began goes on in the background.
      if (what === 'sync') await broker.jobs.syncProjects()
      const from = { verify: '/connect', sync: `${of}/projects` }[what] ?? `${of}/${what}`
      return at(`${of}/${what}`, { form: { token: successor }, from })
    },
  })
}

function askedByGit(action: string): NonNullable<Row['call']> {
  return async (make, _caller, { simulator }) => {
    await make.connection()
    const { protocol, host } = new URL(simulator.url)
    const text = `protocol=${protocol.slice(0, -1)}\nhost=${host}\npath=acme/web-shop.git\npassword=FAKE\n`
    return at(`/v1/git-credential/${action}${search({ organization: HOME })}`, { text })
  }
}

function newIssuer() {
  return {
    issuer: `https://${uuidv7()}.example.com`,
    audience: 'https://broker.example.com',
    rules: [{ claims: { project_path: 'acme/*' }, role: 'scanner', organizations: [HOME] }],
  }
}

const SCOPES = ['read_api', 'read_repository', 'self_rotate']

export const createFixtures = (stage: Stage): Fixtures => {
  const { broker, simulator, instanceId } = stage
  const addUser = (): string => simulator.world.people.addUser({ username: `newcomer-${uuidv7()}` }).username
  const connectNewcomer = async () => {
    const username = addUser()
    return { username, ...(await connectToken(stage, { organization: HOME, username, scopes: SCOPES })) }
  }
  const idOf = async (path: string, body: object): Promise<string> => (await broker.post(path, body)).body.id
  return {
    async connection() {
      const { id, username } = await connectNewcomer()
      const { token } = simulator.world.createAccessToken({ kind: 'personal', username, scopes: SCOPES })
      return { id, successor: token }
    },
    oauthConnection: () => connectByOAuth(stage, { organization: HOME, username: 'tom' }),
    async lease(key) {
      const { id } = await connectNewcomer()
      return (await broker.get(`/v1/connections/${id}/credential`, key ? { key } : {})).body.lease_id
    },
    async newcomer() {
      const username = addUser()
      const scopes = ['read_api', 'read_user', 'read_repository']
      return {
        token: simulator.world.createAccessToken({ kind: 'personal', username, scopes }).token,
        oauthToken: simulator.world.issueOAuthToken({ username, clientId: SEEDED_APP.clientId, scopes })
          .accessToken,
      }
    },
    accessKey: () => idOf('/v1/access-keys', { name: 'one of acme', role: 'manager', organizations: [HOME] }),
    trustedIssuer: () => idOf('/v1/trusted-issuers', newIssuer()),
    async wrapped(key) {
      const { id } = await connectNewcomer()
      const { body } = await broker.get(`/v1/connections/${id}/credential?wrap=true`, key ? { key } : {})
      return { id: body.lease_id, handle: body.handle }
    },
    instance: () => idOf('/v1/instances', { base_url: `https://${uuidv7()}.example.com` }),
    oauthApp: () =>
      idOf('/v1/oauth-apps', {
        slug: `app-${uuidv7()}`,
        instance_id: instanceId,
        client_id: 'FAKE',
        client_secret: 'gloas-FAKE',
      }),
    link: () => createSession(broker, { organization: HOME }),
  }
}
