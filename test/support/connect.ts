import type { NewAccessToken } from '../../simulator/access-token-store.ts'
import type { Answer, Stage } from './broker.ts'

export const SCANNER_SCOPES = ['read_api', 'read_repository']

type Wanted = Partial<NewAccessToken> & { organization?: string; group?: string; key?: string }

/** Makes an access token at the stage's GitLab and connects it. */
export const connectToken = async (
  { broker, simulator }: Stage,
  { organization = 'acme', group, key, ...token }: Wanted = {},
): Promise<{ answer: Answer; id: string; token: string }> => {
  const made = simulator.world.createAccessToken({
    kind: 'personal',
    scopes: SCANNER_SCOPES,
    ...(token.kind === undefined || token.kind === 'personal' ? { username: 'maria' } : {}),
    ...token,
  })
  const body = { organization, base_url: simulator.url, token: made.token, ...(group ? { group } : {}) }
  const answer = await broker.post('/v1/connections/personal-access-token', body, key ? { key } : {})
  return { answer, id: answer.body.id, token: made.token }
}
