/** The way out of the network, as the environment has it for every program. */
export type EnvironmentProxy = {
  /** With its credentials, if it has any. */
  url: string
  /** Hosts that are reached without it: NO_PROXY, in parts. */
  noProxy: string[]
}

type Read = (name: string) => string | undefined

const SCHEME = /^[a-z][a-z0-9+.-]*:\/\//i

/**
 * HTTPS_PROXY and NO_PROXY, also in lower case. HTTP_PROXY is not read: it is for plain http, where a proxy would see
 * the tokens.
 */
export const readProxy = (read: Read, faults: string[]): EnvironmentProxy | undefined => {
  // As curl has it: the name in lower case first.
  const readEither = (name: string): string | undefined => read(name.toLowerCase()) ?? read(name)
  const text = readEither('HTTPS_PROXY')
  const noProxy = (readEither('NO_PROXY') ?? '').split(/[\s,]+/).filter(Boolean)
  if (text === undefined) return undefined
  const url = URL.parse(SCHEME.test(text) ? text : `http://${text}`)
  if (!url || !['http:', 'https:'].includes(url.protocol) || !url.hostname || !isDecodable(url)) {
    faults.push(
      'HTTPS_PROXY must be the URL of a proxy, http:// or https://, with its credentials if it needs any',
    )
    return undefined
  }
  return { url: url.href, noProxy }
}

const isDecodable = ({ username, password }: URL): boolean => {
  try {
    decodeURIComponent(username + password)
    return true
  } catch {
    return false
  }
}
