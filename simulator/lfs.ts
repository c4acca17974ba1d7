import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { checkAccess, notFound } from './git-access.ts'
import { Refusal } from './refusal.ts'
import type { World } from './world.ts'

/** Git LFS, as GitLab serves it below a repository: the Batch API (docs/api/batch.md of git-lfs) and the objects. */

const LFS_TYPE = 'application/vnd.git-lfs+json'
const LFS_PATH = /^(.+?)\.git\/(info\/lfs\/objects\/batch|gitlab-lfs\/objects\/([0-9a-f]{64}))$/
const NOT_THERE = "Object does not exist on the server or you don't have permissions to access it"

type Wanted = { oid: string; size: number }
type BatchBody = { operation?: string; objects?: Wanted[] }

/** Refusals behind the sign-in are JSON here. */
const inWordsOfLfs = (error: unknown, baseUrl: string): unknown => {
  if (!(error instanceof Refusal) || error.status === 401) return error
  const message = error.status === 403 ? 'Access forbidden. Check your access level.' : 'Not found.'
  return new Refusal(
    error.status,
    { message, documentation_url: `${baseUrl}/help` },
    { 'content-type': LFS_TYPE },
  )
}

export const readLfsBodies = (app: FastifyInstance): void => {
  app.addContentTypeParser(LFS_TYPE, { parseAs: 'string' }, app.getDefaultJsonParser('error', 'error'))
}

type Context = { world: World; baseUrl: string }

/** @returns undefined: the path is none of LFS */
export const answerLfs = (
  { world, baseUrl }: Context,
  request: FastifyRequest,
  reply: FastifyReply,
  path: string,
): FastifyReply | undefined => {
  const [, projectPath, action, oid] = LFS_PATH.exec(path) ?? []
  if (projectPath === undefined || (oid === undefined) !== (request.method === 'POST')) return undefined
  const project = world.people.findProject(projectPath)
  const { operation = '', objects = [] } = (action?.endsWith('batch') ? request.body : {}) as BatchBody
  try {
    checkAccess(
      world,
      request,
      project,
      operation === 'upload' ? 'git-receive-pack' : 'git-upload-pack',
      baseUrl,
    )
    if (!project) throw notFound()
  } catch (error) {
    throw inWordsOfLfs(error, baseUrl)
  }
  const { authorization } = request.headers
  if (oid !== undefined) {
    const content = world.lfs.find(project.id, oid)
    if (!content) throw inWordsOfLfs(notFound(), baseUrl)
    const storage = world.lfs.storage()
    if (storage !== undefined) return reply.redirect(`${storage}/${oid}`, 302)
    return reply.type('application/octet-stream').send(content)
  }
  if (operation !== 'download')
    throw new Refusal(501, { message: 'Server supports batch API downloads here' })
  const describe = (wanted: Wanted) => {
    const content = world.lfs.find(project.id, wanted.oid)
    if (!content) return { ...wanted, error: { code: 404, message: NOT_THERE } }
    const href = `${baseUrl}/${project.fullPath}.git/gitlab-lfs/objects/${wanted.oid}`
    // GitLab hands the credential of the request back, for the download.
    const header = authorization === undefined ? {} : { Authorization: authorization }
    return { oid: wanted.oid, size: content.length, actions: { download: { href, header } } }
  }
  return reply.type(LFS_TYPE).send({ objects: objects.map(describe) })
}
