import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { checkAccess, notFound, plain, type Service } from './git-access.ts'
import { GIT_ENVIRONMENT, type GitRepositories } from './git-repositories.ts'
import { answerLfs, readLfsBodies } from './lfs.ts'
import { Refusal } from './refusal.ts'
import type { World } from './world.ts'

/** The CGI header in front of what http-backend writes; the rest stays in the stream. */
const readCgiHeader = async (stream: Readable): Promise<Map<string, string>> => {
  let read = Buffer.alloc(0)
  for (;;) {
    const chunk: Buffer | null = stream.read()
    if (chunk === null) {
      if (stream.readableEnded) throw new Error('git http-backend gave no answer')
      await Promise.race([once(stream, 'readable'), once(stream, 'end')])
      continue
    }
    read = Buffer.concat([read, chunk])
    const end = read.indexOf('\r\n\r\n')
    if (end < 0) continue
    stream.unshift(read.subarray(end + 4))
    const lines = read.subarray(0, end).toString().split('\r\n')
    return new Map(
      lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
    )
  }
}

const runBackend = async (
  request: FastifyRequest,
  reply: FastifyReply,
  repository: string,
  action: string,
  who: string,
) => {
  const { headers } = request
  const env = {
    ...GIT_ENVIRONMENT,
    GIT_PROJECT_ROOT: repository,
    GIT_HTTP_EXPORT_ALL: '1',
    PATH_INFO: `/${action}`,
    QUERY_STRING: request.url.split('?')[1] ?? '',
    REQUEST_METHOD: request.method === 'HEAD' ? 'GET' : request.method,
    CONTENT_TYPE: headers['content-type'] ?? '',
    CONTENT_LENGTH: headers['content-length'] ?? '',
    HTTP_CONTENT_ENCODING: headers['content-encoding'] ?? '',
    GIT_PROTOCOL: String(headers['git-protocol'] ?? ''),
    REMOTE_USER: who,
    REMOTE_ADDR: request.ip,
  }
  const allowed = ['http.receivepack', 'uploadpack.allowFilter', 'uploadpack.allowAnySHA1InWant']
  const settings = allowed.flatMap((name) => ['-c', `${name}=true`])
  const child = spawn('git', [...settings, 'http-backend'], {
    env,
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  // No git, a client that hangs up, a backend that ends early: the missing answer tells, none may end this process.
  child.on('error', () => {})
  child.stdin.on('error', () => {})
  reply.raw.on('close', () => child.kill())
  request.raw.pipe(child.stdin)
  const header = await readCgiHeader(child.stdout)
  reply.code(Number.parseInt(header.get('Status') ?? '200', 10))
  for (const [name, value] of header) if (name !== 'Status') reply.header(name, value)
  return reply.send(child.stdout)
}

const GIT_PATH = /^(.+?)(\.git)?\/(info\/refs|git-upload-pack|git-receive-pack)$/

/** What an empty repository advertises; enough to see whether a token opens it. */
const emptyAdvertisement = (service: Service): string => {
  const line = (text: string) => (text.length + 4).toString(16).padStart(4, '0') + text
  return `${line(`# service=${service}\n`)}0000${line(`${'0'.repeat(40)} capabilities^{}\0agent=git/simulator\n`)}0000`
}

/** What has moved leads to where it is now; for whoever does not sign in, to the page for that. */
const redirectMoved = (
  { world, baseUrl }: { world: World; baseUrl: () => string },
  request: FastifyRequest,
  reply: FastifyReply,
  path: string,
  action: string,
) => {
  if (request.headers.authorization === undefined && world.people.findProject(path)?.visibility !== 'public')
    return reply.redirect(`${baseUrl()}/users/sign_in`, 302)
  const query = request.url.split('?')[1]
  return reply.redirect(`${baseUrl()}/${path}.git/${action}${query ? `?${query}` : ''}`, 302)
}

export const gitRoutes = (
  app: FastifyInstance,
  world: World,
  repositories: GitRepositories | undefined,
  basePath: string,
  baseUrl: () => string,
): void => {
  for (const service of ['git-upload-pack', 'git-receive-pack']) {
    app.addContentTypeParser(`application/x-${service}-request`, (_request, _payload, done) =>
      done(null, undefined),
    )
  }

  readLfsBodies(app)

  const handle = async (request: FastifyRequest, reply: FastifyReply) => {
    const url = request.url.slice(basePath.length + 1)
    const path = url.split('?', 1)[0] ?? ''
    const lfs = answerLfs({ world, baseUrl: baseUrl() }, request, reply, decodeURIComponent(path))
    if (lfs) return lfs
    const [, projectPath, suffix, action] = GIT_PATH.exec(decodeURIComponent(path)) ?? []
    if (projectPath === undefined || action === undefined) {
      if (path.startsWith('api/')) throw new Refusal(404, { error: '404 Not Found' })
      throw plain(404, '404 Not Found')
    }
    const service = action === 'info/refs' ? (request.query as { service?: string }).service : action
    if (service !== 'git-upload-pack' && service !== 'git-receive-pack') {
      throw plain(403, 'Git over dumb HTTP is not served')
    }
    if ((action === 'info/refs') !== (request.method !== 'POST')) throw plain(404, '404 Not Found')
    if (suffix === undefined) {
      return reply.redirect(`${baseUrl()}/${url.replace(/\/(info\/refs|git-)/, '.git/$1')}`, 301)
    }
    const project = world.people.findProject(projectPath)
    const moved = project ? undefined : world.people.findMoved('project', projectPath)
    if (moved) return redirectMoved({ world, baseUrl }, request, reply, moved.fullPath, action)
    const user = checkAccess(world, request, project, service, baseUrl())
    if (!project) throw notFound()
    if (repositories) {
      const repository = await repositories.pathOf(project)
      return runBackend(request, reply, repository, action, user?.username ?? '')
    }
    if (action !== 'info/refs') throw notFound()
    return reply.type(`application/x-${service}-advertisement`).send(emptyAdvertisement(service))
  }
  app.get('/*', handle)
  app.post('/*', handle)
}
