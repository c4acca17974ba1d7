import { Type } from 'typebox'
import { invalidField } from '../errors/problem.ts'
import { splitUrl } from '../gitlab/urls/split-url.ts'

const MOST_HOSTS = 20

export const SshHosts = Type.Array(Type.String({ minLength: 1, maxLength: 260 }), {
  maxItems: MOST_HOSTS,
  description:
    'Under which other hosts SSH URLs name the instance: `host`, for any port, or `host:port`. SSH URLs with the host of base_url lead to the instance anyway, unless another instance has that host here.',
  examples: [['altssh.gitlab.com', 'ssh.gitlab.example.com:2222']],
})

/**
 * The hosts as SSH URLs are compared with them: in lower case, each once.
 * @throws {Problem} invalid_request
 */
export const requireSshHosts = (hosts: readonly string[]): string[] => {
  const read = hosts.map((text, index) => {
    const split = /^[^@/?#\s]+$/.test(text.trim()) ? splitUrl(`ssh://${text.trim()}`) : undefined
    if (split === undefined || split.segments.length > 0)
      throw invalidField(`ssh_hosts.${index}`, 'is neither a host nor host:port')
    return split.port === undefined ? split.hostname : `${split.hostname}:${split.port}`
  })
  return [...new Set(read)]
}
