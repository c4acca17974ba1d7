import { startSimulator } from './simulator.ts'

const DEFAULT_PORT = 8929

const simulator = await startSimulator({ port: Number(process.env.PORT ?? DEFAULT_PORT) })
const { url, world } = simulator
const { people, grants } = world

const token = (username: string, scopes: string[]) => ({
  ...world.createAccessToken({ kind: 'personal', username, scopes }),
  scopes,
})
const tokens = [
  { of: 'maria', ...token('maria', ['read_api', 'read_user', 'read_repository', 'self_rotate']) },
  { of: 'tom', ...token('tom', ['read_repository']) },
]

const list = (lines: string[]) => lines.map((line) => `  ${line}`).join('\n')
const apps = [...grants.apps()].map(
  ({ clientId, clientSecret, redirectUris }) =>
    `${clientId}  secret ${clientSecret}  redirects to ${redirectUris.join(', ')}`,
)

console.log(`A GitLab simulator listens on ${url}. All in it is made up and is gone when it ends.

Users (sign in without a password)
${list([...people.users()].map(({ username, name, state }) => `${username}  ${name}  ${state}`))}
Access tokens
${list(tokens.map(({ of, token, scopes }) => `${token}  ${of}: ${scopes.join(' ')}`))}
OAuth apps
${list(apps)}
Repositories
${list([...people.projects()].map(({ fullPath, visibility }) => `${url}/${fullPath}.git  ${visibility}`))}
Control
  curl ${url}/-/simulator
  curl -X POST ${url}/-/simulator/clock -H 'content-type: application/json' -d '{"advance_seconds":7200}'
`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => simulator.close())
