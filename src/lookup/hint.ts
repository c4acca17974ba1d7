import type { ResourceUrl } from '../gitlab/repository-url.ts'

/** Pure: what to say of a URL that nearly names an instance on which the caller has a connection. */
export type Hint = {
  /** For people. */
  detail: string
  member: { reason: 'other_scheme' | 'other_port' | 'container_registry'; base_url: string }
}

const REGISTRY = /^registry\./

/** The resource as it would be on the GitLab of a container registry. undefined = its host is no registry by its name. */
export const behindRegistry = (resource: ResourceUrl): ResourceUrl | undefined =>
  resource.transport === 'http' && REGISTRY.test(resource.hostname)
    ? { ...resource, hostname: resource.hostname.replace(REGISTRY, '') }
    : undefined

export const registryHintFor = ({ hostname }: ResourceUrl, base_url: string): Hint => ({
  detail: `${hostname} seems to be the container registry of ${base_url}, and tokens here are for Git and the API: send the URL of the project, such as ${base_url}/group/project.git.`,
  member: { reason: 'container_registry', base_url },
})

export const hintFor = ({ protocols, hostname, port }: ResourceUrl, base_url: string): Hint => {
  const { protocol, port: registeredPort } = new URL(base_url)
  if (!protocols.includes(protocol)) {
    const detail = `The URL begins with ${protocols[0]}//, and the connection is for ${base_url}: use ${protocol}//.`
    return { detail, member: { reason: 'other_scheme', base_url } }
  }
  const detail = `The URL names ${port === undefined ? 'the default port' : `port ${port}`} of ${hostname}, and the connection is for ${base_url}: use ${registeredPort === '' ? 'no port' : `port ${registeredPort}`}.`
  return { detail, member: { reason: 'other_port', base_url } }
}
