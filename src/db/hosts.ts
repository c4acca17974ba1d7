/** The servers that DATABASE_URL names, the one in use among them. */
export type Hosts = {
  count: number
  /** URL of the server to try. */
  current(): string
  /** The next is to be tried, unless somebody else has moved on from this one already. */
  moveOnFrom(url: string): void
}

export const createHosts = (urls: string[]): Hosts => {
  let index = 0
  const current = (): string => urls[index]!
  return {
    count: urls.length,
    current,
    moveOnFrom(url) {
      if (url === current()) index = (index + 1) % urls.length
    },
  }
}

/** `host:port` for messages: a URL of a database holds a password. */
export const nameOf = (url: string): string => {
  const { host, searchParams } = new URL(url)
  const port = searchParams.get('port')
  const name = searchParams.get('host') ?? host
  return `${name || 'localhost'}${port ? `:${port}` : ''}`
}
