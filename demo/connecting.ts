import { approve, formsOf } from '../simulator/browser.ts'
import type { Caller } from './api.ts'
import { openAsBrowser } from './browser.ts'
import { expect } from './expect.ts'
import { OAUTH_APP } from './stage.ts'
import type { Tour } from './tour.ts'

/** What an admin does once. @returns the callers with the access keys that were made. */
export const prepare = async (tour: Tour): Promise<{ platform: Caller; scanner: Caller }> => {
  const { narrator, stage, secrets, as } = tour
  const admin = as('admin', stage.adminKey)

  narrator.step('An admin names the GitLab server, and the application registered there')
  narrator.say('A GitLab at a private address has to be allowed by hand; gitlab.com is there from the start.')
  const instance = await admin.call(201, 'POST', '/v1/instances', {
    base_url: stage.simulator.url,
    name: 'The simulated GitLab',
    allow_private_network: true,
  })
  const app = await admin.call(201, 'POST', '/v1/oauth-apps', {
    slug: 'simulator',
    instance_id: instance.id,
    client_id: OAUTH_APP.clientId,
    client_secret: OAUTH_APP.clientSecret,
  })
  secrets.add(OAUTH_APP.clientSecret)
  narrator.fields({ callback_url: app.callback_url, scopes: app.scopes.join(' ') })
  expect(!('client_secret' in app), 'the client secret came out again')
  narrator.proved('Registered. The client secret went in, and no answer ever holds it.')

  narrator.step('The admin gives each program its own access key')
  const createKey = async (name: string, role: string, organizations: string[]) => {
    const { key } = await admin.call(201, 'POST', '/v1/access-keys', { name, role, organizations })
    secrets.add(key)
    return as(name, key)
  }
  const platform = await createKey('platform', 'manager', ['acme', 'globex'])
  const scanner = await createKey('scanner', 'scanner', ['acme'])
  narrator.proved('The platform manages acme and globex; the scanner may only look up, and only for acme.')
  return { platform, scanner }
}

/** @returns the connection id. */
export const connectByOAuth = async (tour: Tour, platform: Caller): Promise<string> => {
  const { narrator, stage, secrets } = tour
  narrator.step('Maria connects her GitLab account by OAuth')
  narrator.say(
    'The platform makes a link for her. She opens it, presses the button, signs in at GitLab and presses Authorize.',
  )
  const session = await platform.call(201, 'POST', '/v1/connect-sessions', { organization: 'acme' })
  const sessionToken = new URL(session.url).searchParams.get('session') ?? ''
  secrets.add(sessionToken)

  const { page, send, open } = await openAsBrowser(session.url)
  const form = formsOf(page).find(({ action }) => action === `${stage.brokerUrl}/connect/oauth/simulator`)
  if (!form) throw new Error('the link did not lead to a page with the button')
  secrets.add(form.fields.get('session') ?? '')
  expect(page.includes('You are connecting GitLab for acme.'), 'the page does not name the organization')
  narrator.say(
    'The page names the organization, who asks, and what for. Nothing starts before she presses the button.',
  )
  const authorizeUrl = new URL((await send(form.action, form.fields)) ?? stage.brokerUrl)
  expect(
    authorizeUrl.pathname === '/oauth/authorize',
    'the button did not lead to the consent page of GitLab',
  )
  narrator.fields({
    'GitLab asks her at': `${authorizeUrl.origin}${authorizeUrl.pathname}`,
    'for the scopes': authorizeUrl.searchParams.get('scope'),
    PKCE: authorizeUrl.searchParams.get('code_challenge_method'),
  })
  const callback = await approve(authorizeUrl.href, { username: 'maria' })
  const result = new URL((await open(callback)) ?? stage.brokerUrl).searchParams
  expect(result.get('status') === 'connected', `OAuth did not connect: ${result.get('code')}`)

  const id = result.get('connection_id') ?? ''
  const connection = await platform.call(200, 'GET', `/v1/connections/${id}`)
  const { user, status, scopes } = connection
  narrator.fields({ user: user.username, status, scopes: scopes.join(' ') })
  expect(status === 'active' && user.username === 'maria', 'it is not the account of Maria')
  narrator.proved('Connected. Her password stayed with GitLab, and no browser saw a token.')
  return id
}

/** @returns the connection id. */
export const connectByAccessToken = async (tour: Tour, platform: Caller): Promise<string> => {
  const { narrator, stage, secrets } = tour
  const base_url = stage.simulator.url
  const connect = '/v1/connections/personal-access-token'

  narrator.step('Tom pastes a personal access token: a mistyped one, then his own')
  const mistyped = { organization: 'globex', base_url, token: 'glpat-FAKE-mistyped-0000' }
  const { code, detail } = await platform.call(422, 'POST', connect, mistyped)
  narrator.fields({ code, detail })
  expect(code === 'token_unknown', 'the mistyped token was refused for another reason')
  const { items } = await platform.call(200, 'GET', '/v1/connections?organization=globex')
  expect(items.length === 0, 'the refused token was stored')
  narrator.proved('GitLab was asked first: the mistake shows right here, and nothing was stored.')

  const { token } = stage.simulator.world.createAccessToken({
    kind: 'personal',
    username: 'tom',
    scopes: ['read_api', 'read_user', 'read_repository'],
  })
  secrets.add(token)
  const verified = await platform.call(200, 'POST', '/v1/tokens/verify', { base_url, token })
  narrator.fields({ valid: verified.valid, kind: verified.token_kind, scopes: verified.scopes.join(' ') })
  const wanted = { organization: 'globex', base_url, token, group: 'globex' }
  const { id, user, group, expires_at, status } = await platform.call(201, 'POST', connect, wanted)
  narrator.fields({ user: user.username, group, status, expires_at })
  expect(verified.valid && user.username === 'tom' && group === 'globex', 'it is not the token of Tom')
  narrator.proved('Verified and connected, for the group globex.')
  return id
}
