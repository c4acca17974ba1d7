import { askGit, askGitOnce, type GitReply } from './git-endpoint.ts'
import type { GitLabHttpClient } from './http-client.ts'

/** What Git over HTTP says of a token at a repository. */
export type CloneProof =
  /** @property path of the repository, which may have moved */
  | { kind: 'proven'; path: string }
  /** It opens for everybody, which proves nothing about the token. */
  | { kind: 'public' }
  | Exclude<GitReply, { kind: 'opens' }>

/**
 * Whether a token may clone a repository, asked where Git asks. Nothing else tells it of a fine-grained token.
 * @param path of the project, without `.git`
 */
export const proveClone = async (
  client: GitLabHttpClient,
  token: string,
  path: string,
): Promise<CloneProof> => {
  const { reply, movedTo } = await askGit(client, path, token)
  if (reply.kind !== 'opens') return reply
  const asked = movedTo ?? path
  // Without credentials: no failed sign-in, which GitLab would count against this address.
  const anonymous = await askGitOnce(client, asked, undefined)
  if (anonymous.kind === 'unavailable') return anonymous
  return anonymous.kind === 'opens' ? { kind: 'public' } : { kind: 'proven', path: asked }
}
