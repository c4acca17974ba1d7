const SHAPE = /^(postgres(?:ql)?:\/\/)(?:([^/?#]*)@)?([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/
/** The broker writes with every lookup. */
const TARGETS = ['read-write', 'primary', 'any']

/** One URL for each server that DATABASE_URL names, in its order; or what is wrong with it. */
export type ParsedDatabaseUrl = { urls: string[] } | { fault: string }

/**
 * Reads `postgresql://user:password@host:port,host:port/database?target_session_attrs=read-write` as libpq does
 * (PostgreSQL documentation, "Connection URIs"); hosts may stand in the query as well: `?host=a,b&port=5432,5433`.
 */
export const parseDatabaseUrl = (text: string): ParsedDatabaseUrl => {
  const [, scheme, credentials, authority = '', path = '', query = ''] = SHAPE.exec(text) ?? []
  if (scheme === undefined) return { fault: 'must be a URL that starts with postgres:// or postgresql://' }
  const parameters = new URLSearchParams(query)
  const target = parameters.get('target_session_attrs') ?? 'read-write'
  if (!TARGETS.includes(target))
    return { fault: `target_session_attrs must be read-write: the broker writes with every lookup` }
  // Not for the driver, which would take them for settings of its own.
  parameters.delete('target_session_attrs')

  const hosts = parameters.get('host')?.split(',') ?? []
  const ports = parameters.get('port')?.split(',') ?? []
  if (hosts.length > 1 && ports.length > 1 && ports.length !== hosts.length)
    return { fault: 'must name one port, or as many ports as hosts' }
  const toUrl = (address: string, more: URLSearchParams): string =>
    `${scheme}${credentials === undefined ? '' : `${credentials}@`}${address}${path}${more.size > 0 ? `?${more}` : ''}`
  const urls =
    hosts.length > 1
      ? hosts.map((host, index) => {
          const own = new URLSearchParams(parameters)
          own.set('host', host)
          const port = ports[index] ?? ports[0]
          if (port) own.set('port', port)
          // A URL with a user has to have a host; the driver takes the one of the query.
          return toUrl(authority || (credentials === undefined ? '' : 'localhost'), own)
        })
      : authority.split(',').map((address) => toUrl(address, parameters))
  const isNamed =
    hosts.length > 1 ? hosts.every(Boolean) : urls.length === 1 || authority.split(',').every(Boolean)
  if (!isNamed || !urls.every((url) => URL.canParse(url)))
    return { fault: 'must name each of its hosts, such as postgresql://user@first:5432,second:5432/broker' }
  return { urls }
}
