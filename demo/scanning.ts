import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Caller } from './api.ts'
import { expect } from './expect.ts'
import { gitEnvironment, runGit } from './git-clone.ts'
import { masked } from './narrator.ts'
import { dumpDatabase, readStoredConnection } from './stored.ts'
import type { Tour } from './tour.ts'

const TOKEN_LIFETIME_SECONDS = 7200
const SCANNERS_AT_ONCE = 50

type Credential = {
  lease_id: string
  connection_id: string
  base_url: string
  token: string
  token_version: number
  token_kind: string
  expires_in: number
  git: { username: string; password: string }
}

const repositoryOf = ({ stage }: Tour) => `${stage.simulator.url}/acme/web-shop.git`
const lookUpPath = (url: string) => `/v1/credentials?url=${encodeURIComponent(url)}&purpose=nightly-scan`

const showCredential = ({ narrator }: Tour, { token, token_kind, token_version, expires_in }: Credential) =>
  narrator.fields({ token: masked(token), token_kind, token_version, expires_in: `${expires_in} s` })

/** Adds both halves of an OAuth pair to what the last step looks for. */
const remember = ({ secrets, stage }: Tour, { token }: Credential) => {
  const pair = stage.simulator.world.grants.findByAccessToken(token)
  expect(pair, 'GitLab does not know the token that was handed out')
  secrets.add(token).add(pair.refreshToken)
}

const clone = async (tour: Tour, { key }: Caller, credential: Credential, name: string): Promise<void> => {
  const { narrator, stage } = tour
  const repository = repositoryOf(tour)
  const args = ['clone', '--quiet', repository, join(stage.folder, name)]
  narrator.call('scanner', `git clone ${repository}`)
  expect(!args.join(' ').includes(credential.token), 'the token is among the arguments of git')
  const withoutToken = await runGit(['-c', 'credential.helper=', 'ls-remote', repository], {
    GIT_TERMINAL_PROMPT: '0',
  })
  expect(withoutToken.status !== 0, 'the repository can be read without a token, so cloning it shows nothing')
  const { status, stderr } = await runGit(
    args,
    gitEnvironment(credential.base_url, { brokerUrl: stage.brokerUrl, key }),
  )
  expect(status === 0, `git clone failed: ${stderr.trim()}`)

  const commit = (await runGit(['-C', join(stage.folder, name), 'log', '-1', '--format=%h %s'])).stdout.trim()
  const config = await readFile(join(stage.folder, name, '.git/config'), 'utf8')
  expect(commit !== '' && !config.includes(credential.token), 'git kept the token in the clone')
  narrator.fields({ 'newest commit': commit })
}

export const lookUp = async (
  tour: Tour,
  scanner: Caller,
  connections: { maria: string; tom: string },
): Promise<Credential> => {
  const { narrator } = tour
  narrator.step('A scanner asks for a credential by the URL of a repository')
  const credential: Credential = await scanner.call(200, 'GET', lookUpPath(repositoryOf(tour)))
  remember(tour, credential)
  showCredential(tour, credential)
  expect(credential.connection_id === connections.maria, 'the credential is not that of Maria')
  const { code } = await scanner.call(404, 'GET', `/v1/connections/${connections.tom}/credential`)
  narrator.fields({ code })
  narrator.proved(
    'It gets a token, with a lease on it. What globex connected does not exist for this scanner.',
  )

  narrator.step('Git clones, and asks the broker by itself')
  narrator.say('By a credential helper in the environment of git: the token is in no URL and no argument.')
  await clone(tour, scanner, credential, 'first-clone')
  narrator.proved('Cloned. Without a token GitLab refuses; in the clone none is left behind.')
  return credential
}

export const showCiphertext = async (tour: Tour, connectionId: string, version: number): Promise<void> => {
  const { narrator, stage } = tour
  narrator.step(version === 1 ? 'What the database holds of it' : 'What the database holds now')
  const { row, header } = await readStoredConnection(stage.broker.database.db, connectionId)
  narrator.fields({
    'connections.access_token': `${row.access_token.slice(0, 48)}… (${row.access_token.length} characters)`,
    'its protected header': header,
  })
  if (version === 1) {
    narrator.say('alg, enc: AES-256-GCM under a data key, kid; that key is stored wrapped by the master key.')
    narrator.say('cid, ver, use: the connection, the token version and the column that it belongs to.')
  }
  expect(
    header.cid === connectionId && header.ver === version && header.use === 'access',
    'the ciphertext is not bound to its row',
  )
  narrator.proved('Only ciphertext, and bound: moved to another row, version or column it does not open.')
}

const askGitLab = async (baseUrl: string, token: string): Promise<number> => {
  const response = await fetch(`${baseUrl}/api/v4/user`, { headers: { authorization: `Bearer ${token}` } })
  await response.body?.cancel()
  return response.status
}

export const outliveToken = async (tour: Tour, scanner: Caller, old: Credential): Promise<void> => {
  const { narrator, stage } = tour
  const { simulator } = stage
  narrator.step('The token runs out, and fifty scanners ask at the same moment')
  stage.advance(TOKEN_LIFETIME_SECONDS)
  narrator.say('The clock of GitLab and of the broker went on by two hours: as long as the token lives.')
  expect((await askGitLab(simulator.url, old.token)) === 401, 'GitLab still takes the token that ran out')
  simulator.requests.clear()
  const path = lookUpPath(repositoryOf(tour))
  const answers: Credential[] = await scanner.callTimes(SCANNERS_AT_ONCE, 200, 'GET', path)
  const [fresh] = answers
  expect(fresh, 'no answer came')
  remember(tour, fresh)
  showCredential(tour, fresh)
  const refreshes = simulator.requests.count({ grantType: 'refresh_token' })
  const different = new Set(answers.map(({ token }) => token)).size
  narrator.fields({ 'refreshes at GitLab': refreshes, 'different tokens handed out': different })
  expect(refreshes === 1, `GitLab was asked for ${refreshes} refreshes, not for one`)
  expect(different === 1 && fresh.token_version === old.token_version + 1, 'they got different tokens')
  narrator.proved('One refresh at GitLab, and the same fresh token for all: a higher version.')

  narrator.step('The old token is dead at GitLab, the new one works')
  const statuses = [await askGitLab(simulator.url, old.token), await askGitLab(simulator.url, fresh.token)]
  narrator.fields({
    'the old one': `GET /api/v4/user answers ${statuses[0]}; ${simulator.world.tokenState(old.token)}`,
    'the new one': `GET /api/v4/user answers ${statuses[1]}; ${simulator.world.tokenState(fresh.token)}`,
  })
  expect(statuses.join() === '401,200', 'GitLab says otherwise')
  expect(simulator.world.tokenState(old.token) === 'revoked', 'GitLab did not revoke the old token')
  await clone(tour, scanner, fresh, 'second-clone')
  for (const { lease_id } of answers.slice(0, 1)) await scanner.call(204, 'DELETE', `/v1/leases/${lease_id}`)
  narrator.proved('Cloned again, and the lease given back: the scan is over.')

  await showCiphertext(tour, fresh.connection_id, fresh.token_version)
}

export const showLeaksNothing = async ({ stage, narrator, secrets }: Tour): Promise<void> => {
  narrator.step('No secret is where it does not belong')
  const places = { database: await dumpDatabase(stage.broker.database.db), log: await stage.readLog() }
  for (const [place, text] of Object.entries(places)) {
    expect(text.length > 0, `the ${place} could not be read`)
    const found = [...secrets].filter((secret) => text.includes(secret)).length
    narrator.fields({ [`found in the ${place}`]: `${found} of ${secrets.size} (${text.length} characters)` })
    expect(found === 0, `the ${place} holds ${found} secrets that anybody can read`)
  }
  narrator.proved('Every row of every table and the whole log were searched for every secret of this tour.')
}
