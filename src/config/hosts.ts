import { isIP } from 'node:net'

/** Without the port and the dot of the root, which Host headers may have. */
export const plainHost = (host: string): string => host.toLowerCase().replace(/\.$/, '')

/** Names and addresses of this machine itself: the owner of another name cannot point one of these elsewhere. */
export const isLoopback = (host: string): boolean => {
  const name = plainHost(host)
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  return name === '[::1]' || name === '::1' || (isIP(name) === 4 && name.startsWith('127.'))
}

const HOST = /^([\w.-]+|\[[\da-f:.]+\])$/i

/** ALLOWED_HOSTS: names and addresses, without ports. */
export const parseHosts = (text: string | undefined, faults: string[]): string[] => {
  const hosts: string[] = []
  for (const part of (text ?? '').split(/[\s,]+/).filter(Boolean)) {
    const bracketed = isIP(part) === 6 ? `[${part}]` : part
    const isHost = HOST.test(bracketed) && URL.canParse(`http://${bracketed}`)
    if (isHost) hosts.push(new URL(`http://${bracketed}`).hostname)
    else faults.push('ALLOWED_HOSTS must be host names or addresses without ports, separated by commas')
  }
  return hosts
}
