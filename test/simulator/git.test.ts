import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import type { Simulator } from '../../simulator/simulator.ts'
import { basic, call, grantTo, refresh, startGitLab } from './gitlab-client.ts'

const run = promisify(execFile)
const environment = {
  PATH: process.env.PATH,
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_TERMINAL_PROMPT: '0',
}
const git = (...args: string[]) => run('git', args, { env: environment })

const urlWith = ({ url }: Simulator, token: string, project: string) =>
  `${url.replace('://', `://oauth2:${token}@`)}/${project}.git`

const advertise = (
  { url }: Simulator,
  project: string,
  credentials?: [string, string],
  service = 'git-upload-pack',
) =>
  call(
    `${url}/${project}.git/info/refs?service=${service}`,
    credentials ? { headers: basic(...credentials) } : {},
  )

const createToken = ({ world }: Simulator, scopes: string[], username = 'maria') =>
  world.createAccessToken({ kind: 'personal', username, scopes }).token

t.test('a repository is cloned with a good token, and not with a bad one', async (t) => {
  const gitlab = await startGitLab(t, { repositories: true, path: '/gitlab' })
  const folder = t.testdir()
  const good = [grantTo(gitlab).accessToken, createToken(gitlab, ['read_repository'])]
  for (const [index, token] of good.entries()) {
    const target = join(folder, String(index))
    await git('clone', '--quiet', urlWith(gitlab, token, 'acme/platform/api'), target)
    t.match(await readFile(join(target, 'README.md'), 'utf8'), '# api')
    t.match(await readFile(join(target, 'src/main.js'), 'utf8'), 'hello from acme/platform/api')
  }
  await t.rejects(
    git('clone', urlWith(gitlab, 'glpat-FAKE-bad', 'acme/platform/api'), join(folder, 'bad')),
    /HTTP Basic: Access denied[\s\S]*Authentication failed/,
  )
})

t.test('a public repository is cloned without a token', async (t) => {
  const gitlab = await startGitLab(t, { repositories: true })
  await git('clone', '--quiet', `${gitlab.url}/globex/public-docs.git`, join(t.testdir(), 'clone'))
})

t.test('a token that dies during a clone ends it', async (t) => {
  const gitlab = await startGitLab(t, { repositories: true })
  const { accessToken, refreshToken } = grantTo(gitlab)
  const { promise, resolve } = Promise.withResolvers<void>()
  const rule = gitlab.faults.add({
    match: { method: 'POST', path: /git-upload-pack$/ },
    effect: { kind: 'hold', until: promise },
  })
  const clone = git('clone', urlWith(gitlab, accessToken, 'acme/web-shop'), join(t.testdir(), 'clone'))
  const failed = t.rejects(clone, /Access denied|Authentication failed|HTTP 401/)
  while (rule.fired() === 0) await call(`${gitlab.url}/-/simulator`)
  await refresh(gitlab, refreshToken)
  resolve()
  await failed
})

t.test('a commit is pushed with write_repository only', async (t) => {
  const gitlab = await startGitLab(t, { repositories: true })
  const clone = join(t.testdir(), 'clone')
  const [reader, writer] = [
    createToken(gitlab, ['read_repository']),
    createToken(gitlab, ['write_repository']),
  ]
  await git('clone', '--quiet', urlWith(gitlab, reader, 'acme/web-shop'), clone)
  const identity = ['-c', 'user.name=Maria', '-c', 'user.email=maria@example.com']
  await git('-C', clone, ...identity, 'commit', '--quiet', '--allow-empty', '-m', 'More')
  await t.rejects(git('-C', clone, 'push', 'origin', 'main'), /not allowed to upload code/)
  await git('-C', clone, 'push', '--quiet', urlWith(gitlab, writer, 'acme/web-shop'), 'main')
  const { stdout } = await git('ls-remote', urlWith(gitlab, reader, 'acme/web-shop'), 'main')
  t.equal(stdout.split('\t')[0], (await git('-C', clone, 'rev-parse', 'HEAD')).stdout.trim())
})

t.test('what Git is refused comes with the words of GitLab', async (t) => {
  const gitlab = await startGitLab(t)
  const token = createToken(gitlab, ['read_repository'])
  const denied = `HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or you're required to use a token instead of a password. If a token was provided, it was either incorrect, expired, or improperly scoped. See ${gitlab.url}/help/topics/git/troubleshooting_git.md#error-on-git-fetch-http-basic-access-denied`
  const expectDenied = async (name: string, credentials?: [string, string]) => {
    const { status, text, headers } = await advertise(gitlab, 'acme/web-shop', credentials)
    t.equal(status, 401, name)
    t.equal(text, denied, name)
    t.equal(headers.get('www-authenticate'), 'Basic realm="GitLab"', name)
  }
  t.equal((await advertise(gitlab, 'acme/web-shop', ['anyone', token])).status, 200, 'any name')
  await expectDenied('no credentials')
  await expectDenied('a blank name', ['', token])
  await expectDenied('an unknown token', ['oauth2', 'glpat-FAKE-unknown'])
  await expectDenied('an OAuth token without a repository scope', [
    'oauth2',
    grantTo(gitlab, 'maria', ['read_user']).accessToken,
  ])
  const bot = gitlab.world.createAccessToken({
    kind: 'project',
    path: 'globex/site',
    scopes: ['read_repository'],
  })
  await expectDenied('the token of another project', ['oauth2', bot.token])

  const readUser = createToken(gitlab, ['read_user'])
  t.match(await advertise(gitlab, 'acme/web-shop', ['oauth2', readUser]), {
    status: 403,
    text: 'You are not allowed to download code.',
  })
  t.match(await advertise(gitlab, 'acme/web-shop', ['oauth2', token], 'git-receive-pack'), {
    status: 403,
    text: 'You are not allowed to upload code.',
  })
  for (const project of ['globex/site', 'acme/nothing']) {
    t.match(await advertise(gitlab, project, ['oauth2', token]), {
      status: 404,
      text: "The project you were looking for could not be found or you don't have permission to view it.",
    })
  }

  gitlab.world.blockUser('maria')
  await expectDenied('a blocked user', ['oauth2', token])
  gitlab.world.unblockUser('maria')
  gitlab.world.revokeToken(token)
  await expectDenied('a revoked token', ['oauth2', token])
})

t.test('a URL without .git is sent on to the one with it', async (t) => {
  const gitlab = await startGitLab(t, { path: '/gitlab' })
  const { status, headers } = await call(`${gitlab.url}/acme/web-shop/info/refs?service=git-upload-pack`)
  t.equal(status, 301)
  t.equal(headers.get('location'), `${gitlab.url}/acme/web-shop.git/info/refs?service=git-upload-pack`)
})
