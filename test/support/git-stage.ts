import type { Test } from 'tap'
import type { GranularScope } from '../../simulator/granular.ts'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { connectByOAuth, type Stage, setStage } from './broker.ts'
import { createFakeClock } from './clock.ts'
import { connectToken } from './connect.ts'
import { createScanner, type Helper, type Scanner } from './git-scanner.ts'

/** Git compares password_expiry_utc with the clock of the machine. */
export const setGitStage = (t: Test, simulator: object = {}): Promise<Stage> =>
  setStage(t, {
    broker: { clock: createFakeClock(Date.now()) },
    simulator: { repositories: true, ...simulator },
  })

export type Kind = 'oauth' | 'oauth of the newer engine' | 'personal' | 'fine-grained' | 'group' | 'project'
export const KINDS: Kind[] = [
  'oauth',
  'oauth of the newer engine',
  'personal',
  'fine-grained',
  'group',
  'project',
]
/** What a fine-grained token needs to be told by, and to clone. */
const GRANULAR: GranularScope[] = [
  { access: 'selected_memberships', path: 'acme/web-shop', permissions: ['download_code', 'read_project'] },
]

export const connectAs = async (stage: Stage, kind: Kind, organization: string): Promise<void> => {
  if (kind === 'oauth' || kind === 'oauth of the newer engine') {
    stage.simulator.world.setEngine(SEEDED_APP.clientId, kind === 'oauth' ? 'doorkeeper' : 'fosite')
    await connectByOAuth(stage, { organization })
    return
  }
  const token = {
    personal: { kind: 'personal' },
    'fine-grained': { kind: 'personal', scopes: ['granular'], granular: GRANULAR },
    group: { kind: 'group', path: 'acme' },
    project: { kind: 'project', path: 'acme/web-shop' },
  } as const
  const { answer } = await connectToken(stage, { organization, ...(token[kind] as object) })
  if (answer.status !== 201) throw new Error(answer.text)
}

/** The machine of a scanner that has a key for one organization. */
export const scannerOf = async (
  t: Test,
  { broker, simulator }: Stage,
  helper: Helper,
  organization = 'acme',
): Promise<{ key: string; scanner: Scanner }> => {
  const key = await broker.createKey('scanner', [organization])
  const setting = { broker: broker.url, key, gitlab: simulator.url, helper, organization }
  return { key, scanner: await createScanner(t, setting) }
}

const tokensOf = ({ simulator }: Stage): string[] => {
  const { accessTokens, grants } = simulator.world
  return [
    ...[...accessTokens.all()].map(({ token }) => token),
    ...[...grants.all()].flatMap((pair) => [pair.accessToken, pair.refreshToken]),
  ]
}

/** With GIT_TRACE, and only then, Git LFS writes what GitLab answers: docs/scanners.md warns of it. */
const LFS_BODY = /^.* trace git-lfs: HTTP: \{.*$/gm

/** The token is nowhere but in the memory of Git and of its helper. */
export const leaksNothing = async (t: Test, stage: Stage, scanner: Scanner, key: string, output: string) => {
  const notes = await scanner.arguments()
  const texts = { output, arguments: notes.replaceAll(LFS_BODY, ''), files: await scanner.files() }
  t.match(texts.arguments, /git-remote-https|remote-http/, 'the trace has the programs that Git started')
  const tokens = tokensOf(stage)
  const encoded = tokens.map((token) => Buffer.from(`oauth2:${token}`).toString('base64'))
  for (const [place, text] of Object.entries(texts))
    for (const secret of [key, ...tokens, ...encoded])
      t.notOk(text.includes(secret), `a secret in the ${place}`)
}
