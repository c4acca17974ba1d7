import type { Role } from '../../src/db/tables.ts'
import type { Answer, Stage } from './broker.ts'

/** Who may call, and how each shows who they are. */
export type Caller = {
  name: CallerName
  /** What a key may do; undefined: no key that counts. */
  role?: Role
  /** Of the key, the link or the person signed in. */
  organizations: string[]
  kind: 'nobody' | 'key' | 'guest' | 'member'
  /** The access key, whatever it is worth. */
  key: string | null
  /** Of a browser; a link that was used up is opened anew. */
  cookie?: () => Promise<string>
}

export const HOME = 'acme'
const ELSEWHERE = 'globex'
const ROLES: Role[] = ['scanner', 'manager', 'admin']
const PLACES = {
  '': [HOME],
  ' of another organization': [ELSEWHERE],
  ' of several organizations': [HOME, 'initech'],
  ' of all organizations': ['*'],
} as const

type Place = keyof typeof PLACES

export type CallerName =
  | 'no key'
  | 'a mistyped key'
  | 'a deleted key'
  | 'an expired key'
  | `${Role}${Place}`
  | 'a connect link'
  | 'a connect link of another organization'
  | 'a member'
  | 'a member of another organization'
  | 'a member whose key was deleted'

const cookieOf = ({ headers }: Answer): string =>
  headers
    .getSetCookie()
    .map((line) => line.split(';')[0])
    .join('; ')

/** One caller of every kind. */
export const createCallers = async ({
  broker,
  clock,
}: Pick<Stage, 'broker' | 'clock'>): Promise<Caller[]> => {
  const createKey = async (role: Role, organizations: readonly string[], expires_at?: string) => {
    const body = {
      name: `${role} of ${organizations}`,
      role,
      organizations,
      ...(expires_at ? { expires_at } : {}),
    }
    return (await broker.post('/v1/access-keys', body)).body as { id: string; key: string }
  }
  const remove = (id: string) => broker.request('DELETE', `/v1/access-keys/${id}`)
  const openLink = async (organization: string): Promise<string> => {
    const { url } = (await broker.post('/v1/connect-sessions', { organization, expires_in: 86_400 })).body
    const { pathname, search } = new URL(url)
    return cookieOf(await broker.get(pathname + search, { key: null }))
  }
  const signIn = async (key: string): Promise<string> =>
    cookieOf(
      await broker.request('POST', '/connect/sign-in', {
        key: null,
        rawBody: new URLSearchParams({ access_key: key }).toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'same-origin' },
      }),
    )

  const ending = await createKey('admin', ['*'], new Date(clock() + 1_000).toISOString())
  const deleted = await createKey('admin', ['*'])
  const leaving = await createKey('manager', [HOME])
  const leavingCookie = await signIn(leaving.key)
  await remove(deleted.id)
  await remove(leaving.id)
  clock.advance(2)
  const typo = (key: string) => `${key.slice(0, -3)}${key.endsWith('aaa') ? 'bbb' : 'aaa'}`
  const nobody: Pick<Caller, 'kind' | 'organizations'> = { kind: 'nobody', organizations: [] }

  const keys: Caller[] = []
  for (const [place, organizations] of Object.entries(PLACES) as [Place, readonly string[]][])
    for (const role of ROLES) {
      const { key } = await createKey(role, organizations)
      keys.push({ name: `${role}${place}`, kind: 'key', role, organizations: [...organizations], key })
    }
  const keyOf = (name: CallerName) => keys.find((caller) => caller.name === name)?.key as string
  const memberCookie = await signIn(keyOf('manager'))
  const elsewhereCookie = await signIn(keyOf('manager of another organization'))
  const member = { kind: 'member', key: null } as const
  const guest = { kind: 'guest', key: null } as const
  return [
    { ...nobody, name: 'no key', key: null },
    { ...nobody, name: 'a mistyped key', key: typo(keyOf('admin of all organizations')) },
    { ...nobody, name: 'a deleted key', key: deleted.key },
    { ...nobody, name: 'an expired key', key: ending.key },
    ...keys,
    { ...guest, name: 'a connect link', organizations: [HOME], cookie: () => openLink(HOME) },
    {
      ...guest,
      name: 'a connect link of another organization',
      organizations: [ELSEWHERE],
      cookie: () => openLink(ELSEWHERE),
    },
    { ...member, name: 'a member', organizations: [HOME], cookie: async () => memberCookie },
    {
      ...member,
      name: 'a member of another organization',
      organizations: [ELSEWHERE],
      cookie: async () => elsewhereCookie,
    },
    { ...nobody, name: 'a member whose key was deleted', key: null, cookie: async () => leavingCookie },
  ]
}
